/* SPDX-License-Identifier: MIT
 * race.c - clocks, and where accesses come in; see race.h.
 */
#include "race.h"

#include <stdlib.h>
#include <string.h>

/* A thread that does so much (a second or so) without waiting for others spins. */
enum { ENDLESS = 100 * 1000 * 1000 };

/* ---- life ---- */

struct race *race_create(const struct machine *m) {
  struct race *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->base = (const char *)m->kernel;
  return r;
}

void race_destroy(struct race *r) {
  if (!r) return;
  race_global_destroy(r);
  free(r);
}

struct race_block *race_block_create(const struct machine *m, const struct smem *s) {
  struct race_block *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->warps = m->nthreads / WARP;
  if (race_shared_create(r, s)) return r;
  race_block_destroy(r);
  return NULL;
}

void race_block_destroy(struct race_block *r) {
  if (!r) return;
  race_shared_destroy(r);
  free(r);
}

void race_block_begin(struct machine *m, const struct block *b) {
  struct race_block *r = b->race;
  m->race->accesses = 0;
  r->number = (unsigned)b->index + 1;
  memset(r->known, 0, sizeof r->known);
  for (int w = 0; w < r->warps; w++) r->clock[w] = 1;
}

/* ---- order ---- */

void race_sync(struct race_block *r, unsigned warps) {
  unsigned joined[MAX_WARPS] = {0};
  for (int w = 0; w < r->warps; w++) {
    if (!(warps >> w & 1)) continue;
    for (int x = 0; x < r->warps; x++)
      if (r->known[w][x] > joined[x]) joined[x] = r->known[w][x];
    joined[w] = r->clock[w];
  }
  for (int w = 0; w < r->warps; w++) {
    if (!(warps >> w & 1)) continue;
    memcpy(r->known[w], joined, sizeof joined);
    r->clock[w]++;
  }
}

bool race_ordered(const struct race_block *r, const struct access *before, int thread) {
  if (before->clock <= r->known[thread / WARP][before->thread / WARP]) return true;
  return before->thread == thread && before->other == thread;
}

/* ---- accesses ---- */

static bool same_places(const struct conflict *c, enum conflict_kind kind, int now, int before) {
  return c->kind == kind && c->now.pc == now && c->before.pc == before;
}

struct conflict *race_found(struct machine *m, enum conflict_kind kind, const void *address,
                            const struct access *now, bool write, const struct access *before) {
  struct race *r = m->race;
  for (int i = 0; i < r->nconflicts; i++)
    if (same_places(&r->conflicts[i], kind, now->pc, before ? before->pc : 0)) return NULL;
  if (r->nconflicts == MAX_CONFLICTS) return NULL;
  struct conflict *c = &r->conflicts[r->nconflicts++];
  *c = (struct conflict){
      .kind = kind, .write = write, .now = *now, .address = address, .block = m->block->index};
  if (before) c->before = *before;
  return c;
}

_Noreturn void race_fail(struct machine *m, enum conflict_kind kind, const void *address,
                         const struct access *now, bool write) {
  race_found(m, kind, address, now, write, NULL);
  machine_leave(m);
}

static struct access access_now(const struct machine *m, const void *pc) {
  const int tid = m->self->tid;
  return (struct access){m->block->race->clock[tid / WARP], (int)((const char *)pc - m->race->base),
                         (unsigned short)tid, (unsigned short)tid};
}

static bool inside(const void *p, const char *first, size_t bytes) {
  return (uintptr_t)p - (uintptr_t)first < bytes;
}

void host_access(const void *p, unsigned long long bytes, int write, const void *pc) {
  struct machine *m = machine_current();
  struct race *r = m->race;
  const struct access now = access_now(m, pc);
  if (++r->accesses > ENDLESS) race_fail(m, CONFLICT_ENDLESS, p, &now, write);
  const struct smem *smem = &m->block->smem;
  if (inside(p, smem->pool, smem->pool_bytes))
    race_shared_access(m, p, (size_t)bytes, write, &now);
  else if (!inside(p, m->stacks, m->stacks_bytes))
    race_global_access(m, p, (size_t)bytes, write, &now);
}

void race_copy_begin(struct machine *m, const struct copy *c) {
  const struct access now = access_now(m, c->pc);
  race_shared_begin_copy(m, c->dst, (size_t)c->bytes, &now);
}

void race_copy_end(struct machine *m, const struct copy *c) {
  const struct access now = access_now(m, c->pc);
  race_shared_end_copy(m, c->dst, (size_t)c->bytes, &now);
}
