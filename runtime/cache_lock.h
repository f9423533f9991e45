/* SPDX-License-Identifier: MIT
 * cache_lock.h - a lock for each key, among all processes and threads that use one cache.
 *
 * One file, v1/lock, and in it a byte a key: an open file description locks a byte (F_OFD_SETLK),
 * so that two threads exclude each other too, and the lock goes with its holder, however that ends.
 * The file stays empty, and is never removed: who locks a file that is gone locks nothing.
 */
#ifndef MKC_CACHE_LOCK_H
#define MKC_CACHE_LOCK_H

#include "cache.h"

/* A descriptor, for cache_lock_drop; or -1 and errno: ETIMEDOUT after wait_ms, else what makes
 * locking impossible here (a directory that cannot be written, a file system without locks). */
int cache_lock_take(int v1, const struct cache_key *key, int wait_ms);
void cache_lock_drop(int lock); /* -1 is fine */

#endif
