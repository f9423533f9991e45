/* SPDX-License-Identifier: MIT
 * launch.c - a machine's life: memory, stacks, blocks that come and go; see machine.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "launch.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"
#include "race.h"
#include "watch.h"

static _Thread_local struct machine *current;

struct machine *machine_current(void) {
  return current;
}

/* ---- the machine ---- */

static void machine_destroy(struct machine *m) {
  if (!m) return;
  race_destroy(m->race);
  for (int i = 0; m->blocks && i < m->nblocks; i++) block_finish(m, &m->blocks[i]);
  if (m->stacks && m->asan.unpoison) m->asan.unpoison(m->stacks, m->stacks_bytes);
  if (m->stacks) munmap(m->stacks, m->stacks_bytes);
  buf_finish(&m->report);
  free(m->queue);
  free(m->blocks);
  free(m->threads);
  free(m);
}

/* One mapping; each stack with an unreadable page below it. */
static bool map_stacks(struct machine *m) {
  const size_t guard = m->stack_guard = (size_t)sysconf(_SC_PAGESIZE);
  const size_t stacks = (size_t)m->nblocks * (size_t)m->nthreads;
  m->stacks_bytes = stacks * (STACK_BYTES + guard);
  void *p = mmap(NULL, m->stacks_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  m->stacks = p;
  for (size_t i = 0; i < stacks; i++)
    if (mprotect(m->stacks + i * (STACK_BYTES + guard), guard, PROT_NONE)) return false;
  return true;
}

static bool make_queue(struct machine *m) {
  unsigned room = 1;
  while (room < (unsigned)(m->nblocks * m->nthreads)) room *= 2;
  m->queue = calloc(room, sizeof(struct thread *));
  m->queue_mask = room - 1;
  return m->queue != NULL;
}

static bool make_blocks(struct machine *m, size_t smem_bytes) {
  m->blocks = calloc((size_t)m->nblocks, sizeof *m->blocks);
  m->threads = calloc((size_t)m->nblocks * (size_t)m->nthreads, sizeof *m->threads);
  bool ok = m->blocks && m->threads;
  for (int i = 0; ok && i < m->nblocks; i++) {
    m->blocks[i].threads = m->threads + (size_t)i * (size_t)m->nthreads;
    ok = block_init(m, &m->blocks[i], smem_bytes);
  }
  return ok;
}

static struct machine *machine_create(const struct tile_kernel *kernel, const void *args,
                                      int resident, size_t smem_bytes,
                                      const struct launch_options *options) {
  struct machine *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->kernel = kernel;
  m->args = args;
  m->options = *options;
  m->random = options->seed ? options->seed : 1;
  m->nthreads = kernel->threads;
  m->nblocks = resident;
  m->waits_at_tick = ULLONG_MAX; /* the first tick only looks */
  asan_find(&m->asan);
  bool ok = !kernel->follows_accesses || (m->race = race_create(m));
  if (ok && make_blocks(m, smem_bytes) && make_queue(m) && map_stacks(m)) return m;
  machine_destroy(m);
  return NULL;
}

/* ---- blocks ---- */

static bool raced(const struct machine *m) {
  return m->race && m->race->nconflicts;
}

/* A block takes the place of each that has ended, until there are no more or a race is found. */
static void run_blocks(struct machine *m, long long blocks) {
  long long begun = 0;
  for (; begun < m->nblocks; begun++) block_begin(m, &m->blocks[begun], begun);
  for (struct fiber *next; !m->failed && (next = next_fiber(m));) {
    m->running = true;
    fiber_switch(&m->main, next, false, &m->asan);
    m->running = false;
    struct block *b = m->block;
    if (m->failed || raced(m) || !block_ended(m, b)) continue;
    block_check(m, b);
    if (!m->failed && begun < blocks) block_begin(m, b, begun++);
  }
}

static bool all_ended(const struct machine *m) {
  for (int i = 0; i < m->nblocks; i++)
    if (!block_ended(m, &m->blocks[i])) return false;
  return true;
}

static mkc_status check_launch(const struct tile_kernel *k, const struct launch_options *options,
                               struct error *err) {
  if (options->resident < 0 || options->resident > MAX_RESIDENT)
    return error_set(err, MKC_E_INTERNAL, "%d resident blocks: it must be 1 to %d",
                     options->resident, MAX_RESIDENT);
  if (k->threads >= WARP && k->threads <= MAX_THREADS && k->threads % WARP == 0) return MKC_OK;
  return error_set(err, MKC_E_INTERNAL, "a block of %d threads: it must be %d to %d, whole warps",
                   k->threads, WARP, MAX_THREADS);
}

mkc_status launch_run(const struct tile_kernel *kernel, const void *args, long long blocks,
                      size_t smem_bytes, const struct launch_options *options, struct error *err) {
  mkc_status status = check_launch(kernel, options, err);
  if (status || blocks <= 0) return status;
  const int wanted = options->resident ? options->resident : 1;
  const int resident = blocks < wanted ? (int)blocks : wanted;
  struct machine *m = machine_create(kernel, args, resident, smem_bytes, options);
  if (!m) return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory for a block on the CPU device");
  struct machine *const outer = current;
  current = m;
  run_blocks(m, blocks);
  current = outer;
  if (!m->failed && !all_ended(m)) machine_report_deadlock(m);
  if (m->stopped) watch_report(m, &m->report);
  if (raced(m)) race_report(m, &m->report);
  if (m->failed || raced(m)) status = error_set(err, MKC_E_CHECK, "%s", buf_text(&m->report));
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
      .mma_f32 = host_mma_f32,
      .cp_async = host_cp_async,
      .cp_async_commit = host_cp_async_commit,
      .cp_async_wait = host_cp_async_wait,
      .misaligned = host_misaligned,
      .access = host_access,
  };
  return &api;
}
