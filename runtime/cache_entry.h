/* SPDX-License-Identifier: MIT
 * cache_entry.h - the file of one cache entry.
 *
 *   offset  bytes
 *        0      8  "mkcache\n"
 *        8      4  schema          (integers are little-endian)
 *       12      4  bytes of this head, 96
 *       16      8  bytes of meta
 *       24      8  bytes of payload
 *       32     32  key
 *       64     32  SHA-256 of meta and payload
 *       96         meta, a line of text; then the payload, to the end of the file
 */
#ifndef MKC_CACHE_ENTRY_H
#define MKC_CACHE_ENTRY_H

#include "cache.h"

enum entry_verdict {
  ENTRY_GOOD,
  ENTRY_UNREADABLE, /* a system error: nothing is known about the entry */
  ENTRY_BAD         /* not what was written under this key */
};

/* *ret: the payload, the caller's to free. */
enum entry_verdict cache_entry_read(int fd, const struct cache_key *key, void **ret,
                                    size_t *ret_len);

/* The size of an entry's file. */
uint64_t cache_entry_bytes(size_t len, const char *meta);

/* 0, or errno. Does not sync. */
int cache_entry_write(int fd, const struct cache_key *key, const void *data, size_t len,
                      const char *meta);

#endif
