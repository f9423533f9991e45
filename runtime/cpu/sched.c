/* SPDX-License-Identifier: MIT
 * sched.c - which thread runs, where threads meet, and what is said when they do not.
 *
 * Threads are cooperative: one runs until it waits. Warps meet first, at one place in the source
 * (another place is divergence); barriers count whole warps, as the hardware does. When the run
 * queue is empty the main fiber runs, and knows whether the threads that are left have deadlocked.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "race.h"

/* ---- the run queue ---- */

/* xorshift64* */
unsigned machine_dice(struct machine *m, unsigned sides) {
  m->random ^= m->random >> 12;
  m->random ^= m->random << 25;
  m->random ^= m->random >> 27;
  return (unsigned)((m->random * 0x2545F4914F6CDD1DULL) >> 33) % sides;
}

static struct thread **queue_at(struct machine *m, unsigned i) {
  return &m->queue[(m->queue_first + i) & m->queue_mask];
}

void thread_wake(struct machine *m, struct thread *t) {
  t->site = NULL;
  *queue_at(m, m->queued++) = t;
}

struct fiber *next_fiber(struct machine *m) {
  if (!m->queued) return NULL;
  if (m->options.seed) {
    struct thread **first = queue_at(m, 0);
    struct thread **pick = queue_at(m, machine_dice(m, m->queued));
    struct thread *t = *pick;
    *pick = *first;
    *first = t;
  }
  m->self = *queue_at(m, 0);
  m->block = m->self->block;
  m->queue_first = (m->queue_first + 1) & m->queue_mask;
  m->queued--;
  return &m->self->fiber;
}

void thread_wait(struct machine *m, const struct tile_site *site) {
  struct thread *t = m->self;
  t->site = site;
  m->waits++;
  if (m->race) m->race->accesses = 0;
  struct fiber *next = next_fiber(m);
  fiber_switch(&t->fiber, next ? next : &m->main, false, &m->asan);
}

/* ---- warps ---- */

struct thread *warp_lane(const struct machine *m, int lane) {
  return m->self - m->self->tid % WARP + lane;
}

/* Names one of the lanes that wait elsewhere; all of them wait at the same place. */
static _Noreturn void fail_divergence(struct machine *m, const struct warp *w,
                                      const struct tile_site *site) {
  int other = 0;
  while (warp_lane(m, other)->site != w->site) other++;
  machine_fail(m, site, "warp %d diverges: thread %d is here, thread %d waits in %s at %s:%d",
               m->self->tid / WARP, m->self->tid, warp_lane(m, other)->tid, w->site->op,
               w->site->file, w->site->line);
}

bool warp_gather(struct machine *m, void *post, const struct tile_site *site) {
  struct thread *t = m->self;
  struct warp *w = &t->block->warps[t->tid / WARP];
  if (w->arrived && w->site->id != site->id) fail_divergence(m, w, site);
  t->post = post;
  w->site = site;
  if (++w->arrived < WARP) {
    thread_wait(m, site);
    return false;
  }
  w->arrived = 0;
  return true;
}

void warp_release(struct machine *m) {
  for (int i = 0; i < WARP; i++)
    if (warp_lane(m, i) != m->self) thread_wake(m, warp_lane(m, i));
}

/* ---- barriers ---- */

static void barrier_release(struct machine *m, struct barrier *b) {
  const struct block *block = m->block;
  if (block->race) race_sync(block->race, b->warps);
  for (int w = 0; w < m->nthreads / WARP; w++) {
    if (!(b->warps >> w & 1)) continue;
    for (int i = w * WARP; i < (w + 1) * WARP; i++)
      if (&block->threads[i] != m->self) thread_wake(m, &block->threads[i]);
  }
  memset(b, 0, sizeof *b);
}

struct barrier_post {
  int id, threads;
};

static void check_barrier(struct machine *m, const struct barrier_post *p,
                          const struct tile_site *at) {
  for (int i = 0; i < WARP; i++) {
    const struct barrier_post *q = warp_lane(m, i)->post;
    if (q->id != p->id || q->threads != p->threads)
      machine_fail(m, at, "lanes of warp %d disagree: barrier %d of %d threads, and %d of %d",
                   m->self->tid / WARP, p->id, p->threads, q->id, q->threads);
  }
  if (p->id < 0 || p->id >= MAX_BARRIERS)
    machine_fail(m, at, "barrier %d: there are %d", p->id, MAX_BARRIERS);
  if (p->threads <= 0 || p->threads % WARP || p->threads > m->nthreads)
    machine_fail(m, at, "barrier %d for %d threads; it must be whole warps of the block's %d",
                 p->id, p->threads, m->nthreads);
}

void host_barrier(int id, int threads, const struct tile_site *at) {
  struct machine *m = machine_current();
  struct barrier_post post = {id, threads ? threads : m->nthreads};
  if (!warp_gather(m, &post, at)) return;
  check_barrier(m, &post, at);
  struct barrier *b = &m->block->barriers[id];
  if (b->arrived && b->need != post.threads)
    machine_fail(m, at, "barrier %d for %d threads, while others wait at it for %d", id,
                 post.threads, b->need);
  b->need = post.threads;
  b->arrived += WARP;
  b->warps |= 1u << (m->self->tid / WARP);
  if (b->arrived < b->need)
    thread_wait(m, at);
  else
    barrier_release(m, b);
}

void host_warp_sync(const struct tile_site *at) {
  struct machine *m = machine_current();
  if (!warp_gather(m, NULL, at)) return;
  struct race_block *race = m->block->race;
  if (race) race_sync(race, 1u << (m->self->tid / WARP));
  warp_release(m);
}

/* ---- failures ---- */

_Noreturn void machine_leave(struct machine *m) {
  m->failed = true;
  for (;;) fiber_switch(&m->self->fiber, &m->main, false, &m->asan);
}

void machine_fail(struct machine *m, const struct tile_site *site, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (site) buf_printf(&m->report, "%s:%d: %s: ", site->file, site->line, site->op);
  buf_printf(&m->report, "%s (block %lld, thread %d)", text, m->block->index, m->self->tid);
  machine_leave(m);
}

static void report_group(struct machine *m, const struct block *b, int first, int last) {
  const struct thread *t = &b->threads[first];
  if (first == last)
    buf_printf(&m->report, "\n  thread %d ", first);
  else
    buf_printf(&m->report, "\n  threads %d to %d ", first, last);
  if (t->done)
    buf_puts(&m->report, first == last ? "has ended" : "have ended");
  else
    buf_printf(&m->report, "%s in %s at %s:%d", first == last ? "waits" : "wait", t->site->op,
               t->site->file, t->site->line);
}

static void report_block(struct machine *m, const struct block *b) {
  if (m->report.len) buf_puts(&m->report, "\n");
  buf_printf(&m->report, "deadlock: no thread of block %lld can go on", b->index);
  for (int first = 0, i = 1; i <= m->nthreads; i++) {
    if (i < m->nthreads && b->threads[i].site == b->threads[first].site) continue;
    report_group(m, b, first, i - 1);
    first = i;
  }
}

void machine_report_deadlock(struct machine *m) {
  m->failed = true;
  for (int i = 0; i < m->nblocks; i++)
    if (!block_ended(m, &m->blocks[i])) report_block(m, &m->blocks[i]);
}

/* ---- small things of the vocabulary ---- */

int host_tid(void) {
  return machine_current()->self->tid;
}
long long host_block(void) {
  return machine_current()->block->index;
}

void host_misaligned(const void *p, int align, const struct tile_site *at) {
  machine_fail(machine_current(), at, "%p is not a multiple of %d", p, align);
}
