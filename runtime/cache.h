/* SPDX-License-Identifier: MIT
 * cache.h - compiled code, kept: a key in, the bytes that were stored under it out.
 *
 * On disk an entry is one file, DIR/v1/<2 hex>/<62 hex>, written beside and renamed, and verified
 * (size, key, digest) each time it is read; one that is not right is a miss and is removed. Where
 * the directory cannot be used (no HOME, read-only, full, not ours alone) entries live in memory
 * for as long as the cache does, after one warning. Nothing here ever fails: a cache that cannot
 * keep is a cache that misses. When the entries on disk grow beyond $MASKC_CACHE_MAX_SIZE (1 GiB)
 * the least recently used go.
 *
 * What is stored runs as code, so the directory must belong to this user and be writable by nobody
 * else; the digest finds corruption, not tampering.
 *
 *   struct cache_keygen g; struct cache_key key;
 *   cache_key_begin(&g, "cubin");
 *   cache_key_source(&g, "source", text);
 *   cache_key_string(&g, "arch", "sm_90a");
 *   cache_key_end(&g, &key);
 *   if (cache_get_or_claim(cache, &key, &bytes, &len, &claim)) return bytes;
 *   compile; cache_put(cache, &key, bytes, len, ""); cache_claim_release(&claim);
 */
#ifndef MKC_CACHE_H
#define MKC_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sha256.h"
#include "maskc.h"

enum { CACHE_SCHEMA = 1 }; /* of the entry's file, and a part of each key */

struct cache;

/* Called with one line of text; level as in mkc_context_options.log. */
typedef void cache_log_fn(void *user, int level, const char *line);

struct cache_options {
  const char *dir; /* NULL: $MASKC_CACHE_DIR, else $XDG_CACHE_HOME/maskc, else ~/.cache/maskc */
  bool no_disk;    /* keep nothing on disk; also by MASKC_CACHE_DISABLE=1 */
  int wait_ms;     /* for another's compile, at most; 0: a minute */
  cache_log_fn *log;
  void *log_user;
  const struct allocator *allocator; /* of what is kept in memory; NULL: malloc */
};

/* Opens nothing yet: the directory is looked at on the first get or put. NULL: out of memory. */
struct cache *cache_create(const struct cache_options *options);
void cache_destroy(struct cache *c); /* NULL is fine */

/* ---- keys ---- */

struct cache_key {
  unsigned char bytes[SHA256_BYTES];
};

struct cache_keygen {
  struct sha256 hash;
};

/* kind: what the entry is ("cubin", "ptx", "host object"). Each field enters with its name and its
 * length, so that no two lists of fields are alike. */
void cache_key_begin(struct cache_keygen *g, const char *kind);
void cache_key_field(struct cache_keygen *g, const char *name, const void *data, size_t len);
void cache_key_string(struct cache_keygen *g, const char *name, const char *text);
void cache_key_int(struct cache_keygen *g, const char *name, long long value);
/* C source without its #line directives, which name paths and change no code. Where the compiled
 * code does hold lines (debug information, __LINE__), use cache_key_string. */
void cache_key_source(struct cache_keygen *g, const char *name, const char *text);
void cache_key_end(struct cache_keygen *g, struct cache_key *ret);

/* ---- entries; safe from many threads and many processes ---- */

/* True: *ret holds *ret_len bytes, verified, the caller's to free. */
bool cache_get(struct cache *c, const struct cache_key *key, void **ret, size_t *ret_len);

/* The same, for who will compile on a miss: a key that many want at once is compiled by one of
 * them, and the others wait for its entry. They wait for wait_ms at most, and not at all where
 * there is no disk to share or no lock to be had; then each compiles for itself. A hit needs no
 * release; after a miss, put what was compiled (if it was) and release. */
struct cache_claim {
  int lock; /* -1: none */
};
bool cache_get_or_claim(struct cache *c, const struct cache_key *key, void **ret, size_t *ret_len,
                        struct cache_claim *ret_claim);
void cache_claim_release(struct cache_claim *claim); /* again is fine */

/* meta: a line of text for people ("simple_gla sm_90a"), may be "". */
void cache_put(struct cache *c, const struct cache_key *key, const void *data, size_t len,
               const char *meta);

/* ---- for doctor and the command line ---- */

/* The directory, or "" when there is none. Owned by the cache. */
const char *cache_dir(struct cache *c);
/* True: entries are read from and written to disk. *ret_why says why not, or what it found; it is
 * owned by the cache. */
bool cache_usable(struct cache *c, const char **ret_why);

/* Entries on disk; times in seconds since 1970, 0 where there are none. */
struct cache_usage {
  size_t entries;
  uint64_t bytes;
  int64_t oldest, newest; /* last use */
};

/* False: no directory that can be used. */
bool cache_stat(struct cache *c, struct cache_usage *ret);

/* Removes the least recently used until at most max_bytes are left, and temporaries of writers that
 * died. Files that are no entries of ours are left alone, and no link is followed. Errors:
 * MKC_E_SYSTEM, with what was removed even so. */
mkc_status cache_prune(struct cache *c, uint64_t max_bytes, struct cache_usage *ret_removed,
                       struct cache_usage *ret_left, struct error *err);

/* What the cache may hold on disk, from $MASKC_CACHE_MAX_SIZE; UINT64_MAX: without a limit. */
uint64_t cache_max_bytes(const struct cache *c);

/* "1073741824", "500K", "64M", "1G": bytes, in powers of 1024. False: no size. */
bool cache_size_parse(const char *text, uint64_t *ret);

#endif
