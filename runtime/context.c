/* SPDX-License-Identifier: MIT
 * context.c - creates and counts contexts; finds and opens NVRTC when first asked for it.
 *
 * MASKC_VERBOSE=1 sends the log to stderr where the host program has set no hook of its own. It is
 * the user asking, not the program; without it the library is silent.
 */
#define _GNU_SOURCE /* secure_getenv */
#include "context.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

struct mkc_context {
  atomic_int references;
  struct allocator allocator;
  void (*log)(void *user, int level, const char *line);
  void *log_user;
  struct cache *cache;
  struct op_table ops;
  pthread_mutex_t mutex;          /* guards the rest */
  struct nvrtc_location location; /* path "" until found */
  struct nvrtc *nvrtc;            /* NULL until opened */
  struct added_pack *packs;       /* in the order they were added */
};

struct added_pack {
  struct added_pack *next;
  struct pack *pack;
};

static void log_to_stderr(void *user, int level, const char *line) {
  (void)user;
  fprintf(stderr, "maskc: %s%s\n", level == LOG_WARNING ? "warning: " : "", line);
}

static void choose_log(mkc_context *ctx, const mkc_context_options *options) {
  const char *verbose = secure_getenv("MASKC_VERBOSE");
  ctx->log = options->log;
  ctx->log_user = options->log_user;
  if (!ctx->log && verbose && *verbose && strcmp(verbose, "0") != 0) ctx->log = log_to_stderr;
}

static mkc_status create(const mkc_context_options *given, mkc_context **ret, struct error *err) {
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  const mkc_status st =
      given ? options_read(&options, sizeof options, given, given->struct_size, err) : MKC_OK;
  if (st) return st;
  const struct allocator allocator = {options.alloc, options.alloc_user};
  mkc_context *ctx = alloc_zeroed(&allocator, sizeof *ctx);
  if (!ctx) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  atomic_init(&ctx->references, 1);
  ctx->allocator = allocator;
  op_table_init(&ctx->ops);
  pthread_mutex_init(&ctx->mutex, NULL);
  choose_log(ctx, &options);
  const struct cache_options cache = {.dir = options.cache_dir,
                                      .no_disk = options.no_cache != 0,
                                      .log = ctx->log,
                                      .log_user = ctx->log_user,
                                      .allocator = &ctx->allocator};
  ctx->cache = cache_create(&cache);
  if (!ctx->cache) {
    context_release(ctx);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  }
  *ret = ctx;
  return MKC_OK;
}

mkc_status mkc_context_create(const mkc_context_options *options, mkc_context **ret) {
  struct error err = {0};
  if (!ret) {
    error_set(&err, MKC_E_USAGE, "mkc_context_create: the place for the result is NULL");
    return last_error_take(&err);
  }
  *ret = NULL;
  return create(options, ret, &err) ? last_error_take(&err) : MKC_OK;
}

void mkc_context_destroy(mkc_context *ctx) {
  context_release(ctx);
}

mkc_context *context_retain(mkc_context *ctx) {
  atomic_fetch_add_explicit(&ctx->references, 1, memory_order_relaxed);
  return ctx;
}

void context_release(mkc_context *ctx) {
  if (!ctx || atomic_fetch_sub_explicit(&ctx->references, 1, memory_order_acq_rel) != 1) return;
  cache_destroy(ctx->cache);
  nvrtc_close(ctx->nvrtc);
  op_table_finish(&ctx->ops);
  while (ctx->packs) {
    struct added_pack *next = ctx->packs->next;
    pack_close(ctx->packs->pack);
    alloc_free(&ctx->allocator, ctx->packs);
    ctx->packs = next;
  }
  pthread_mutex_destroy(&ctx->mutex);
  const struct allocator allocator = ctx->allocator;
  alloc_free(&allocator, ctx);
}

const struct allocator *context_allocator(const mkc_context *ctx) {
  return &ctx->allocator;
}

struct op_table *context_ops(mkc_context *ctx) {
  return &ctx->ops;
}

struct cache *context_cache(mkc_context *ctx) {
  return ctx->cache;
}

/* ---- packs ---- */

/* The pack is taken over, also on failure. */
static mkc_status add_pack(mkc_context *ctx, struct pack *pack, struct error *err) {
  struct added_pack *added = alloc_zeroed(&ctx->allocator, sizeof *added);
  if (!added) {
    pack_close(pack);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  }
  added->pack = pack;
  pthread_mutex_lock(&ctx->mutex);
  struct added_pack **last = &ctx->packs;
  while (*last) last = &(*last)->next;
  *last = added;
  pthread_mutex_unlock(&ctx->mutex);
  context_log(ctx, LOG_INFO, "%s: a pack of %d ops", pack_name(pack), pack_op_count(pack));
  return MKC_OK;
}

mkc_status mkc_context_add_pack(mkc_context *ctx, const char *path) {
  struct error err = {0};
  struct pack *pack;
  if (!ctx || !path) {
    error_set(&err, MKC_E_USAGE, "mkc_context_add_pack: context or path is NULL");
    return last_error_take(&err);
  }
  mkc_status st = pack_open(path, &pack, &err);
  if (!st) st = add_pack(ctx, pack, &err);
  return st ? last_error_take(&err) : MKC_OK;
}

mkc_status mkc_context_add_pack_memory(mkc_context *ctx, const void *data, size_t bytes) {
  struct error err = {0};
  struct pack *pack;
  if (!ctx || !data) {
    error_set(&err, MKC_E_USAGE, "mkc_context_add_pack_memory: context or data is NULL");
    return last_error_take(&err);
  }
  mkc_status st = pack_open_memory(data, bytes, &pack, &err);
  if (!st) st = add_pack(ctx, pack, &err);
  return st ? last_error_take(&err) : MKC_OK;
}

const struct pack *context_pack(mkc_context *ctx, int index) {
  pthread_mutex_lock(&ctx->mutex);
  const struct added_pack *p = ctx->packs;
  while (p && index-- > 0) p = p->next;
  pthread_mutex_unlock(&ctx->mutex);
  return p ? p->pack : NULL;
}

/* ---- NVRTC ---- */

/* A failure is not remembered: NVRTC may be installed while the program runs. */
static mkc_status locate_locked(mkc_context *ctx, struct error *err) {
  if (ctx->location.path[0]) return MKC_OK;
  const mkc_status st = nvrtc_locate(&ctx->location, err);
  if (st) ctx->location.path[0] = 0;
  return st;
}

mkc_status context_nvrtc_location(mkc_context *ctx, const struct nvrtc_location **ret,
                                  struct error *err) {
  pthread_mutex_lock(&ctx->mutex);
  const mkc_status st = locate_locked(ctx, err);
  pthread_mutex_unlock(&ctx->mutex);
  *ret = st ? NULL : &ctx->location;
  return st;
}

mkc_status context_nvrtc(mkc_context *ctx, const struct nvrtc **ret, struct error *err) {
  pthread_mutex_lock(&ctx->mutex);
  mkc_status st = locate_locked(ctx, err);
  if (!st && !ctx->nvrtc) st = nvrtc_open(&ctx->location, &ctx->nvrtc, err);
  *ret = st ? NULL : ctx->nvrtc;
  pthread_mutex_unlock(&ctx->mutex);
  return st;
}

void context_log(mkc_context *ctx, int level, const char *fmt, ...) {
  if (!ctx->log) return;
  char line[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  ctx->log(ctx->log_user, level, line);
}
