/* SPDX-License-Identifier: MIT
 * context.h - what the ops of a process share: the hooks, packs, the cache, NVRTC once it is
 * needed, and the ops themselves, found again by their options.
 *
 * Reference-counted: each op holds its context, so that the two can be destroyed in any order.
 */
#ifndef MKC_CONTEXT_H
#define MKC_CONTEXT_H

#include "base/alloc.h"
#include "base/error.h"
#include "cache.h"
#include "maskc.h"
#include "nvrtc.h"
#include "op_table.h"
#include "pack.h"

enum { LOG_WARNING = MKC_LOG_WARNING, LOG_INFO = MKC_LOG_INFO };

mkc_context *context_retain(mkc_context *ctx);
void context_release(mkc_context *ctx); /* NULL is fine */

const struct allocator *context_allocator(const mkc_context *ctx); /* lives as long as ctx */
struct cache *context_cache(mkc_context *ctx);
struct op_table *context_ops(mkc_context *ctx);

/* The packs that were added, in that order; NULL past the last. They stay until the context goes.
 */
const struct pack *context_pack(mkc_context *ctx, int index);

/* The NVRTC library that this context uses: found (not opened) on the first call. */
mkc_status context_nvrtc_location(mkc_context *ctx, const struct nvrtc_location **ret,
                                  struct error *err);
/* The same, opened. */
mkc_status context_nvrtc(mkc_context *ctx, const struct nvrtc **ret, struct error *err);

void context_log(mkc_context *ctx, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes err the calling thread's last error (mkc_last_error) and empties it; returns its status. */
mkc_status last_error_take(struct error *err);

#endif
