/* SPDX-License-Identifier: MIT
 * cache_evict.h - how much the cache holds on disk, and removing what was used least recently.
 */
#ifndef MKC_CACHE_EVICT_H
#define MKC_CACHE_EVICT_H

#include "cache.h"

enum { CACHE_DIR_CHARS = 3, CACHE_NAME_CHARS = 2 * SHA256_BYTES - 1 };

/* An entry's place below v1: "ab", "cdef...". */
struct cache_place {
  char dir[CACHE_DIR_CHARS], name[CACHE_NAME_CHARS];
};
struct cache_place cache_place_of(const struct cache_key *key);

struct eviction {
  uint64_t limit;  /* nothing goes while the entries have at most so many bytes */
  uint64_t target; /* else the least recently used go until they have at most so many */
  const struct cache_place *keep; /* NULL, or what must stay */
};

/* v1: the directory of the entries. Only they are looked at: regular files of this user, under the
 * names of entries, in directories that can be trusted; links are not followed. Returns 0, or errno
 * of the first removal (or allocation) that failed. An entry that another process has just removed
 * or replaced is no failure. */
int cache_evict(int v1, const struct eviction *request, struct cache_usage *ret_removed,
                struct cache_usage *ret_left);

#endif
