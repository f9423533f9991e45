/* SPDX-License-Identifier: MIT
 * backend.c - the CPU device as a backend: an op's source in, a loaded kernel and its runs out.
 *
 * MASKC_CPU_ASYNC picks when asynchronous copies land: late (the default, at the wait for them),
 * early (at their issue), or random:SEED, which shuffles the order of threads as well.
 * MASKC_CPU_BLOCKS is how many blocks of a launch are resident at once (1).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../backend.h"

#include <stdlib.h>
#include <string.h>

#include "../../gen/gen.h"
#include "../cache.h"
#include "../context.h"
#include "asan.h"
#include "compile.h"
#include "guard.h"
#include "launch.h"
#include "module.h"
#include "worker.h"

struct loaded {
  struct module *module;
  const struct tile_kernel *kernel; /* of the module */
  struct op_source source;          /* its arrays and sizes; no text */
  mkc_check check;
  struct launch_options options;
};

/* ---- source to object ---- */

/* Lines count: they are in the object, for reports. */
static mkc_status object_key(const struct host_job *job, struct cache_key *ret, struct error *err) {
  struct buf identity = {0};
  mkc_status status = host_compile_identity(job, &identity, err);
  if (!status) {
    struct cache_keygen g;
    cache_key_begin(&g, "host object");
    cache_key_string(&g, "source", job->source);
    cache_key_string(&g, "tile_host.h", job->header);
    cache_key_string(&g, "name", job->name);
    cache_key_string(&g, "compiler", buf_text(&identity));
    cache_key_end(&g, ret);
  }
  buf_finish(&identity);
  return status;
}

static mkc_status compile_and_put(mkc_context *ctx, const struct host_job *job,
                                  const struct cache_key *key, struct buf *ret, struct error *err) {
  const mkc_status status = host_compile(job, ret, err);
  if (!status) cache_put(context_cache(ctx), key, ret->data, ret->len, job->name);
  return status;
}

static mkc_status load_cached(mkc_context *ctx, const struct host_job *job, struct module **ret,
                              struct error *err) {
  struct cache_key key;
  struct cache_claim claim;
  void *object;
  size_t len;
  mkc_status status = object_key(job, &key, err);
  if (status) return status;
  if (cache_get_or_claim(context_cache(ctx), &key, &object, &len, &claim)) {
    status = module_load(object, len, job->check != MKC_CHECK_NONE, ret, err);
    free(object);
    if (!status) return MKC_OK;
    error_finish(err); /* of a home that machines share: this one's C library may be older */
  }
  struct buf compiled = {0};
  status = compile_and_put(ctx, job, &key, &compiled, err);
  cache_claim_release(&claim);
  if (!status)
    status = module_load(compiled.data, compiled.len, job->check != MKC_CHECK_NONE, ret, err);
  buf_finish(&compiled);
  return status;
}

/* ---- load ---- */

static mkc_status read_async(struct launch_options *ret, struct error *err) {
  const char *s = secure_getenv("MASKC_CPU_ASYNC");
  if (!s || !*s || !strcmp(s, "late")) return MKC_OK;
  if (!strcmp(s, "early")) {
    ret->async = ASYNC_EARLY;
    return MKC_OK;
  }
  char *end = NULL;
  if (!strncmp(s, "random:", 7)) ret->seed = strtoull(s + 7, &end, 10);
  ret->async = ASYNC_RANDOM;
  if (end && !*end && ret->seed) return MKC_OK;
  return error_set(err, MKC_E_USAGE,
                   "MASKC_CPU_ASYNC=%s: it can be late, early or random:SEED (a number from 1)", s);
}

static mkc_status read_resident(struct launch_options *ret, struct error *err) {
  const char *s = secure_getenv("MASKC_CPU_BLOCKS");
  if (!s || !*s) return MKC_OK;
  char *end;
  const long n = strtol(s, &end, 10);
  if (*end || n < 1 || n > MAX_RESIDENT)
    return error_set(err, MKC_E_USAGE, "MASKC_CPU_BLOCKS=%s: it can be 1 to %d", s, MAX_RESIDENT);
  ret->resident = (int)n;
  return MKC_OK;
}

static mkc_status read_options(struct launch_options *ret, struct error *err) {
  *ret = (struct launch_options){.async = ASYNC_LATE, .resident = 1};
  const mkc_status status = read_async(ret, err);
  return status ? status : read_resident(ret, err);
}

static mkc_status check_sanitizer(struct error *err) {
  struct asan asan;
  if (asan_find(&asan)) return MKC_OK;
  return error_set(err, MKC_E_USAGE,
                   "the address check needs AddressSanitizer's runtime in the process: build the "
                   "program with -fsanitize=address, or start it with LD_PRELOAD=libasan.so "
                   "(`maskc run --check=address` does)");
}

/* The op's description and its kernel must say the same. */
static mkc_status find_kernel(struct loaded *l, const struct op_source *src, struct error *err) {
  l->kernel = module_kernel(l->module, src->entry);
  if (!l->kernel)
    return error_set(err, MKC_E_INTERNAL, "the emitted source has no kernel %s", src->entry);
  if (l->kernel->threads != src->threads || l->kernel->args_bytes != op_args_bytes(src))
    return error_set(err, MKC_E_INTERNAL,
                     "kernel %s has %d threads and %llu bytes of arguments, its op %d and %zu",
                     src->entry, l->kernel->threads, l->kernel->args_bytes, src->threads,
                     op_args_bytes(src));
  return MKC_OK;
}

static void cpu_unload(struct loaded *l) {
  if (!l) return;
  module_destroy(l->module);
  free(l);
}

static mkc_status cpu_load(mkc_context *ctx, const struct op_source *src, int device,
                           mkc_check check, struct loaded **ret, struct error *err) {
  (void)device;
  const struct embedded_file *header = embedded_find("templates/tile_host.h");
  if (!header) return error_set(err, MKC_E_INTERNAL, "tile_host.h is not in the library");
  struct loaded *l = calloc(1, sizeof *l);
  if (!l) return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory to load %s", src->name);
  const struct host_job job = {src->text, header->data, src->entry, check};
  l->check = check;
  l->source = *src;
  l->source.text = l->source.plan = NULL;
  mkc_status status = read_options(&l->options, err);
  if (!status && check == MKC_CHECK_ADDRESS) status = check_sanitizer(err);
  if (!status) status = load_cached(ctx, &job, &l->module, err);
  if (!status) status = find_kernel(l, src, err);
  if (status)
    cpu_unload(l);
  else
    *ret = l;
  return status;
}

static mkc_status launch_guarded(const struct loaded *l, const void *args, long long blocks,
                                 struct error *err) {
  struct guard *guard;
  mkc_status status = guard_create(&l->source, args, &guard, err);
  if (status) return status;
  struct launch_options options = l->options;
  options.guard = guard;
  status =
      launch_run(l->kernel, guard_args(guard), blocks, (size_t)l->source.smem_bytes, &options, err);
  if (!status) guard_copy_back(guard);
  guard_destroy(guard);
  return status;
}

static mkc_status cpu_launch(const struct loaded *l, const void *args, long long blocks,
                             void *stream, struct error *err) {
  (void)stream;
  if (l->check != MKC_CHECK_NONE) return launch_guarded(l, args, blocks, err);
  return launch_run(l->kernel, args, blocks, (size_t)l->source.smem_bytes, &l->options, err);
}

const struct backend cpu_backend = {"cpu", cpu_load, cpu_launch, cpu_unload};
