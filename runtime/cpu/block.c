/* SPDX-License-Identifier: MIT
 * block.c - a place for a block: from its first thread's start to its last one's end; see
 * machine.h.
 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "race.h"

/* ---- a thread ---- */

static void fail_in_flight(struct machine *m, const struct copy *c) {
  machine_fail(m, c->site, "the thread ends while this copy is in flight (missing cp_async_wait)");
}

/* The last thread of a block goes to the main fiber, which gives the place to another block: not on
 * this stack, which that block will use. */
static void thread_main(void) {
  struct machine *m = machine_current();
  struct thread *t = m->self;
  fiber_arrive(m->main.stack ? NULL : &m->main, &m->asan);
  m->kernel->run(m->args);
  if (t->ncopies) fail_in_flight(m, &t->copies[0]);
  t->done = true;
  t->block->done++;
  m->waits++;
  struct fiber *next = block_ended(m, t->block) ? NULL : next_fiber(m);
  fiber_switch(&t->fiber, next ? next : &m->main, true, &m->asan);
}

/* Stacks begin at the same offset of a page otherwise, and would share a few lines of the cache. */
static size_t stack_colour(int tid) {
  return (size_t)(tid % 32) * 128;
}

static void thread_begin(struct machine *m, struct thread *t) {
  const size_t pitch = STACK_BYTES + m->stack_guard;
  char *stack = m->stacks + (size_t)(t - m->threads) * pitch + m->stack_guard;
  t->done = false;
  t->ncopies = 0;
  t->group = 0;
  fiber_init(&t->fiber, stack, STACK_BYTES - stack_colour(t->tid), thread_main, &m->asan);
  thread_wake(m, t);
}

/* ---- a block ---- */

bool block_init(struct machine *m, struct block *b, size_t smem_bytes) {
  for (int i = 0; i < m->nthreads; i++) {
    b->threads[i].block = b;
    b->threads[i].tid = i;
  }
  b->done = m->nthreads;
  if (!smem_init(&b->smem, smem_bytes)) return false;
  return !m->race || (b->race = race_block_create(m, &b->smem));
}

void block_finish(struct machine *m, struct block *b) {
  race_block_destroy(b->race);
  smem_finish(&b->smem, &m->asan);
  for (int i = 0; b->threads && i < m->nthreads; i++) free(b->threads[i].copies);
}

void block_begin(struct machine *m, struct block *b, long long index) {
  b->index = index;
  b->done = 0;
  memset(b->warps, 0, sizeof b->warps);
  memset(b->barriers, 0, sizeof b->barriers);
  smem_reset(&b->smem, &m->asan);
  if (b->race) race_block_begin(m, b);
  for (int i = 0; i < m->nthreads; i++) thread_begin(m, &b->threads[i]);
}

bool block_ended(const struct machine *m, const struct block *b) {
  return b->done == m->nthreads;
}

void block_check(struct machine *m, const struct block *b) {
  const struct smem_array *damaged = smem_damaged(&b->smem, &m->asan);
  if (!damaged) return;
  m->failed = true;
  buf_printf(&m->report, "a write went past an end of shared array %s (block %lld)", damaged->name,
             b->index);
}
