/* SPDX-License-Identifier: MIT
 * compile.c - key, cache, NVRTC, see compile.h.
 */
#define _POSIX_C_SOURCE 200809L
#include "compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "context.h"

static double now_ms(void) {
  struct timespec t = {0};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* ---- keys ---- */

/* The build of NVRTC stands for its version; driver, paths and time are not in it. */
static void make_key(const struct op_source *src, const struct nvrtc_job *job,
                     const char *nvrtc_identity, struct cache_key *ret) {
  struct cache_keygen g;
  struct nvrtc_options options;
  nvrtc_options(job, &options);
  cache_key_begin(&g, job->kind == NVRTC_PTX ? "ptx" : "cubin");
  cache_key_source(&g, "source", job->source);
  cache_key_string(&g, "entry", src->entry);
  cache_key_string(&g, "arch", job->arch);
  for (int i = 0; i < options.count; i++) cache_key_string(&g, "option", options.list[i]);
  cache_key_string(&g, "nvrtc", nvrtc_identity);
  cache_key_end(&g, ret);
}

/* ---- which NVRTC compiled last, an entry like another ---- */

static void last_nvrtc_key(struct cache_key *ret) {
  struct cache_keygen g;
  cache_key_begin(&g, "last nvrtc");
  cache_key_end(&g, ret);
}

static bool last_nvrtc(mkc_context *ctx, char ret_identity[65]) {
  struct cache_key key;
  void *data;
  size_t len;
  last_nvrtc_key(&key);
  if (!cache_get(context_cache(ctx), &key, &data, &len)) return false;
  const bool fits = len < 65;
  if (fits) snprintf(ret_identity, 65, "%.*s", (int)len, (const char *)data);
  free(data);
  return fits;
}

static void remember_nvrtc(mkc_context *ctx, const char *identity) {
  char last[65];
  struct cache_key key;
  if (last_nvrtc(ctx, last) && !strcmp(last, identity)) return;
  last_nvrtc_key(&key);
  cache_put(context_cache(ctx), &key, identity, strlen(identity), "the last NVRTC\n");
}

/* NVRTC is needed to compile, not to use what it has compiled. */
static bool get_without_nvrtc(mkc_context *ctx, const struct op_source *src,
                              const struct nvrtc_job *job, void **ret_code, size_t *ret_len) {
  char identity[65];
  struct cache_key key;
  if (!last_nvrtc(ctx, identity)) return false;
  make_key(src, job, identity, &key);
  if (!cache_get(context_cache(ctx), &key, ret_code, ret_len)) return false;
  context_log(ctx, LOG_INFO, "%s: no NVRTC here; %s code from the cache, %zu bytes", src->name,
              src->arch, *ret_len);
  return true;
}

/* ---- source to code ---- */

static mkc_status compile(mkc_context *ctx, const struct op_source *src,
                          const struct nvrtc_job *job, struct nvrtc_result *ret,
                          struct error *err) {
  const struct nvrtc *nvrtc;
  mkc_status st = context_nvrtc(ctx, &nvrtc, err);
  if (st) return st;
  const double start = now_ms();
  st = nvrtc_compile(nvrtc, job, ret, err);
  if (st) return st;
  context_log(ctx, LOG_INFO, "%s: compiled for %s in %.0f ms, %zu bytes", src->name, job->arch,
              now_ms() - start, ret->len);
  if (ret->log[0]) context_log(ctx, LOG_WARNING, "%s: NVRTC says: %s", src->name, ret->log);
  return MKC_OK;
}

/* And into the cache, whose claim the caller holds. */
static mkc_status compile_and_put(mkc_context *ctx, const struct op_source *src,
                                  const struct nvrtc_job *job, const struct cache_key *key,
                                  void **ret_code, size_t *ret_len, struct error *err) {
  struct nvrtc_result result;
  const mkc_status st = compile(ctx, src, job, &result, err);
  if (st) return st;
  char meta[160];
  snprintf(meta, sizeof meta, "%s %s dk=%d dv=%d chunk=%d\n", src->name, src->arch, src->dk,
           src->dv, src->chunk);
  cache_put(context_cache(ctx), key, result.code, result.len, meta);
  *ret_code = result.code;
  *ret_len = result.len;
  result.code = NULL;
  nvrtc_result_finish(&result);
  return MKC_OK;
}

mkc_status compile_source(mkc_context *ctx, const struct op_source *src, enum nvrtc_kind kind,
                          void **ret_code, size_t *ret_len, struct error *err) {
  const struct nvrtc_job job = {.source = src->text, .arch = src->arch, .kind = kind};
  const struct nvrtc_location *location;
  struct cache_key key;
  struct cache_claim claim;
  *ret_code = NULL;
  mkc_status st = context_nvrtc_location(ctx, &location, err);
  if (st && get_without_nvrtc(ctx, src, &job, ret_code, ret_len)) {
    error_finish(err);
    return MKC_OK;
  }
  if (st) return st;
  make_key(src, &job, location->identity, &key);
  if (cache_get_or_claim(context_cache(ctx), &key, ret_code, ret_len, &claim)) {
    context_log(ctx, LOG_INFO, "%s: %s code from the cache, %zu bytes", src->name, src->arch,
                *ret_len);
    return MKC_OK;
  }
  st = compile_and_put(ctx, src, &job, &key, ret_code, ret_len, err);
  cache_claim_release(&claim);
  if (!st) remember_nvrtc(ctx, location->identity);
  return st;
}
