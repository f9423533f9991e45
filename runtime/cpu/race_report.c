/* SPDX-License-Identifier: MIT
 * race_report.c - a conflict in words:
 *
 *   scan.k.c:9: race: thread 35 writes sP[1032], which thread 3 reads at scan.k.c:8, and nothing
 * ...
 */
#include <stdint.h>
#include <string.h>

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

/* The shared memory that p is in, whichever block's; NULL: it is elsewhere. */
static const struct smem *smem_of(const struct machine *m, const char *p) {
  for (int i = 0; i < m->nblocks; i++) {
    const struct smem *s = &m->blocks[i].smem;
    if ((uintptr_t)p - (uintptr_t)s->pool < s->pool_bytes) return s;
  }
  return NULL;
}

static void print_target(const struct machine *m, const void *p, struct buf *out) {
  const struct smem *smem = smem_of(m, p);
  const struct smem_array *a = smem ? smem_holding(smem, p, 1) : NULL;
  if (a)
    buf_printf(out, "%s[%zu]", a->name, (size_t)((const char *)p - a->data) / a->element_bytes);
  else if (smem)
    buf_puts(out, "shared memory outside of every array");
  else if (!m->options.guard || !guard_print(m->options.guard, p, out))
    buf_printf(out, "global memory at %p", p);
}

static const char *kind_name(enum conflict_kind kind) {
  switch (kind) {
  case CONFLICT_STRAY: return "stray access";
  case CONFLICT_UNWRITTEN: return "uninitialised";
  case CONFLICT_ENDLESS: return "endless loop";
  default: return "race";
  }
}

/* place, before: where the two accesses stand. */
static void print(const struct machine *m, const struct conflict *c, const char *place,
                  const char *before, struct buf *out) {
  buf_printf(out, "%s: %s: thread %d %s ", place, kind_name(c->kind), c->now.thread,
             c->write ? "writes" : "reads");
  print_target(m, c->address, out);
  switch (c->kind) {
  case CONFLICT_READ:
  case CONFLICT_WRITE:
    buf_printf(out, ", which thread %d %s at %s, and nothing orders the two", other_thread(c),
               c->kind == CONFLICT_READ ? "reads" : "writes", before);
    break;
  case CONFLICT_IN_FLIGHT:
    buf_printf(out, " while the copy that thread %d started at %s is in flight", c->before.thread,
               before);
    break;
  case CONFLICT_UNWRITTEN: buf_puts(out, ", which nothing has written"); break;
  case CONFLICT_BLOCK:
    buf_printf(out, ", which thread %d writes at %s in block %lld, and nothing orders blocks",
               other_thread(c), before, c->block_before);
    break;
  case CONFLICT_STRAY: break;
  case CONFLICT_ENDLESS: buf_puts(out, " and has not waited for 100 million accesses"); break;
  }
  buf_printf(out, " (block %lld)", c->block);
}

struct report {
  const struct conflict *conflict;
  struct buf place, before;
};

static bool same_text(const struct buf *x, const struct buf *y) {
  return strcmp(buf_text(x), buf_text(y)) == 0;
}

/* The same two lines, whichever came first. */
static bool same(const struct report *x, const struct report *y) {
  if (same_text(&x->place, &y->before) && same_text(&x->before, &y->place)) return true;
  return x->conflict->kind == y->conflict->kind && same_text(&x->place, &y->place) &&
         same_text(&x->before, &y->before);
}

/* Unrolled loops have many addresses for a line: one report for each pair of lines. */
void race_report(const struct machine *m, struct buf *out) {
  const struct race *r = m->race;
  struct report all[MAX_CONFLICTS] = {{0}};
  for (int i = 0; i < r->nconflicts; i++) {
    struct report *x = &all[i];
    x->conflict = &r->conflicts[i];
    symbol_print(pc_of(r, &x->conflict->now), &x->place);
    if (x->conflict->before.clock) symbol_print(pc_of(r, &x->conflict->before), &x->before);
    int other = 0;
    while (other < i && !same(&all[other], x)) other++;
    if (other < i) continue;
    if (out->len) buf_puts(out, "\n");
    print(m, x->conflict, buf_text(&x->place), buf_text(&x->before), out);
  }
  for (int i = 0; i < r->nconflicts; i++) {
    buf_finish(&all[i].place);
    buf_finish(&all[i].before);
  }
}
