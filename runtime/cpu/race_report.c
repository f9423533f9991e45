/* SPDX-License-Identifier: MIT
 * race_report.c - a conflict in words:
 *
 *   scan.k.c:470: race: thread 35 writes sP[1032], which thread 3 reads at scan.k.c:512, and
 * nothing orders the two (block 0)
 */
#include "guard.h"
#include "race.h"
#include "symbol.h"

static const void *pc_of(const struct race *r, const struct access *a) {
  return r->base + a->pc;
}

/* The thread of `before` that is not the one of `now`. */
static int other_thread(const struct conflict *c) {
  return c->before.thread == c->now.thread ? c->before.other : c->before.thread;
}

static void print_target(const struct machine *m, const void *p, struct buf *out) {
  const struct smem_array *a = smem_holding(&m->smem, p, 1);
  if (a)
    buf_printf(out, "%s[%zu]", a->name, (size_t)((const char *)p - a->data) / a->element_bytes);
  else if (p >= (const void *)m->smem.pool && p < (const void *)(m->smem.pool + m->smem.pool_bytes))
    buf_puts(out, "shared memory outside of every array");
  else if (!m->options.guard || !guard_print(m->options.guard, p, out))
    buf_printf(out, "global memory at %p", p);
}

static void print_before(const struct race *r, const struct conflict *c, const char *verb,
                         struct buf *out) {
  buf_printf(out, ", which thread %d %s at ", other_thread(c), verb);
  symbol_print(pc_of(r, &c->before), out);
}

void race_report(const struct machine *m, struct buf *out) {
  const struct race *r = m->race;
  const struct conflict *c = &r->conflict;
  symbol_print(pc_of(r, &c->now), out);
  const char *what = c->kind == CONFLICT_STRAY       ? "stray access"
                     : c->kind == CONFLICT_UNWRITTEN ? "uninitialised"
                     : c->kind == CONFLICT_ENDLESS   ? "endless loop"
                                                     : "race";
  buf_printf(out, ": %s: thread %d %s ", what, c->now.thread, c->write ? "writes" : "reads");
  print_target(m, c->address, out);
  switch (c->kind) {
  case CONFLICT_READ:
    print_before(r, c, "reads", out);
    buf_puts(out, ", and nothing orders the two");
    break;
  case CONFLICT_WRITE:
    print_before(r, c, "writes", out);
    buf_puts(out, ", and nothing orders the two");
    break;
  case CONFLICT_IN_FLIGHT:
    buf_printf(out, " while the copy that thread %d started at ", c->before.thread);
    symbol_print(pc_of(r, &c->before), out);
    buf_puts(out, " is in flight");
    break;
  case CONFLICT_UNWRITTEN: buf_puts(out, ", which nothing has written"); break;
  case CONFLICT_BLOCK:
    print_before(r, c, "writes", out);
    buf_printf(out, " in block %lld, and nothing orders blocks", c->block_before);
    break;
  case CONFLICT_ENDLESS: buf_puts(out, " and has not waited for 100 million accesses"); break;
  default: break;
  }
  buf_printf(out, " (block %lld)", c->block);
}
