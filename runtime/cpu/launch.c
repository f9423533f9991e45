/* SPDX-License-Identifier: MIT
 * launch.c - a machine's life: memory, stacks, a block at a time; see machine.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "launch.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"
#include "race.h"
#include "watch.h"

/* Virtual memory; a thread touches a page or two of it (more under AddressSanitizer). */
enum { STACK_BYTES = 256 * 1024 };

static _Thread_local struct machine *current;

struct machine *machine_current(void) {
  return current;
}

/* ---- a thread ---- */

static void fail_in_flight(struct machine *m, const struct copy *c) {
  machine_fail(m, c->site, "the thread ends while this copy is in flight (missing cp_async_wait)");
}

static void thread_main(void) {
  struct machine *m = current;
  struct thread *t = m->self;
  fiber_arrive(m->main.stack ? NULL : &m->main, &m->asan);
  m->kernel->run(m->args);
  if (t->ncopies) fail_in_flight(m, &t->copies[0]);
  t->done = true;
  m->done++;
  m->waits++;
  struct fiber *next = next_fiber(m);
  if (!next && m->done < m->nthreads) machine_fail_deadlock(m);
  fiber_switch(&t->fiber, next ? next : &m->main, true, &m->asan);
}

/* Stacks begin at the same offset of a page otherwise, and would share a few lines of the cache. */
static size_t stack_colour(int tid) {
  return (size_t)(tid % 32) * 128;
}

static void thread_init(struct machine *m, int tid, size_t guard) {
  struct thread *t = &m->threads[tid];
  char *stack = m->stacks + (size_t)tid * (STACK_BYTES + guard) + guard;
  t->tid = tid;
  t->done = false;
  t->ncopies = 0;
  t->group = 0;
  fiber_init(&t->fiber, stack, STACK_BYTES - stack_colour(tid), thread_main, &m->asan);
  thread_wake(m, t);
}

/* ---- a block ---- */

static void run_block(struct machine *m, long long block, size_t guard) {
  m->block = block;
  machine_reset_sync(m);
  if (m->race) race_begin_block(m->race);
  smem_reset(&m->smem, &m->asan);
  for (int i = 0; i < m->nthreads; i++) thread_init(m, i, guard);
  m->running = true;
  fiber_switch(&m->main, next_fiber(m), false, &m->asan);
  m->running = false;
  if (m->race && m->race->nconflicts) m->failed = true;
  if (m->failed) return;
  const struct smem_array *damaged = smem_damaged(&m->smem, &m->asan);
  if (!damaged) return;
  m->failed = true;
  buf_printf(&m->report, "a write went past an end of shared array %s (block %lld)", damaged->name,
             block);
}

/* ---- the machine ---- */

static void machine_destroy(struct machine *m) {
  if (!m) return;
  race_destroy(m->race);
  smem_finish(&m->smem, &m->asan);
  for (int i = 0; m->threads && i < m->nthreads; i++) free(m->threads[i].copies);
  if (m->stacks && m->asan.unpoison) m->asan.unpoison(m->stacks, m->stacks_bytes);
  if (m->stacks) munmap(m->stacks, m->stacks_bytes);
  buf_finish(&m->report);
  free(m->threads);
  free(m);
}

/* One mapping; each stack with an unreadable page below it. */
static bool map_stacks(struct machine *m, size_t guard) {
  m->stacks_bytes = (size_t)m->nthreads * (STACK_BYTES + guard);
  void *p = mmap(NULL, m->stacks_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  m->stacks = p;
  for (int i = 0; i < m->nthreads; i++)
    if (mprotect(m->stacks + (size_t)i * (STACK_BYTES + guard), guard, PROT_NONE)) return false;
  return true;
}

static struct machine *machine_create(const struct tile_kernel *kernel, const void *args,
                                      size_t smem_bytes, const struct launch_options *options,
                                      size_t guard) {
  struct machine *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->kernel = kernel;
  m->args = args;
  m->options = *options;
  m->random = options->seed ? options->seed : 1;
  m->nthreads = kernel->threads;
  m->waits_at_tick = ULLONG_MAX; /* the first tick only looks */
  asan_find(&m->asan);
  m->threads = calloc((size_t)m->nthreads, sizeof *m->threads);
  bool ok = m->threads && smem_init(&m->smem, smem_bytes) && map_stacks(m, guard);
  if (ok && kernel->follows_accesses) ok = (m->race = race_create(m));
  if (ok) return m;
  machine_destroy(m);
  return NULL;
}

static mkc_status check_kernel(const struct tile_kernel *k, struct error *err) {
  if (k->threads >= WARP && k->threads <= MAX_THREADS && k->threads % WARP == 0) return MKC_OK;
  return error_set(err, MKC_E_INTERNAL, "a block of %d threads: it must be %d to %d, whole warps",
                   k->threads, WARP, MAX_THREADS);
}

mkc_status launch_run(const struct tile_kernel *kernel, const void *args, long long blocks,
                      size_t smem_bytes, const struct launch_options *options, struct error *err) {
  mkc_status status = check_kernel(kernel, err);
  if (status) return status;
  const size_t guard = (size_t)sysconf(_SC_PAGESIZE);
  struct machine *m = machine_create(kernel, args, smem_bytes, options, guard);
  if (!m) return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory for a block on the CPU device");
  struct machine *const outer = current;
  current = m;
  for (long long b = 0; b < blocks && !m->failed; b++) run_block(m, b, guard);
  current = outer;
  if (m->stopped) watch_report(m, &m->report);
  if (m->race && m->race->nconflicts) race_report(m, &m->report);
  if (m->failed) status = error_set(err, MKC_E_CHECK, "%s", buf_text(&m->report));
  machine_destroy(m);
  return status;
}

const struct tile_host_api *launch_api(void) {
  static const struct tile_host_api api = {
      .version = TILE_HOST_VERSION,
      .tid = host_tid,
      .block = host_block,
      .smem_array = host_smem_array,
      .smem_begin = host_smem_begin,
      .barrier = host_barrier,
      .warp_sync = host_warp_sync,
      .shuffle = host_shuffle,
      .ldmatrix = host_ldmatrix,
      .mma_bf16 = host_mma_bf16,
      .mma_f16 = host_mma_f16,
      .cp_async = host_cp_async,
      .cp_async_commit = host_cp_async_commit,
      .cp_async_wait = host_cp_async_wait,
      .misaligned = host_misaligned,
      .access = host_access,
  };
  return &api;
}
