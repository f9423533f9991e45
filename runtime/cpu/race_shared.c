/* SPDX-License-Identifier: MIT
 * race_shared.c - the race checker's memory of shared memory; see race.h.
 *
 * A cell remembers 2 bytes. Most accesses are of 16 bytes at a time (ldmatrix, copies), so eight
 * cells are a line, whose first cell stands for all of them until something touches less.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "race.h"

enum { CELL_BYTES = 2, LINE_CELLS = 8, LINE_BYTES = LINE_CELLS * CELL_BYTES };

struct race_line {
  unsigned block; /* the number of the cells' block; an older one: nothing has happened here */
  bool split;     /* the cells differ */
};

struct cell {
  struct access write;
  bool in_flight;       /* write is a copy that has not been waited for */
  bool outside;         /* of every array */
  struct access read[]; /* the last of each warp */
};

bool race_shared_create(struct race_block *r, const struct smem *s) {
  const size_t lines = (s->pool_bytes + LINE_BYTES - 1) / LINE_BYTES;
  r->pool = s->pool;
  r->cell_bytes = sizeof(struct cell) + (size_t)r->warps * sizeof(struct access);
  r->lines = calloc(lines, sizeof *r->lines);
  r->cells = malloc(lines * LINE_CELLS * r->cell_bytes);
  return r->lines && r->cells;
}

void race_shared_destroy(struct race_block *r) {
  free(r->lines);
  free(r->cells);
}

/* ---- cells and lines ---- */

static struct cell *cell_at(const struct race_block *r, size_t index) {
  return (struct cell *)(r->cells + index * r->cell_bytes);
}

static void split(const struct race_block *r, struct race_line *line, size_t index) {
  if (line->split) return;
  line->split = true;
  struct cell *first = cell_at(r, index * LINE_CELLS);
  for (size_t i = 1; i < LINE_CELLS; i++)
    memcpy(cell_at(r, index * LINE_CELLS + i), first, r->cell_bytes);
}

/* Before the first access of a block. Arrays are declared by then, or the access is stray. */
static void reset_line(struct machine *m, struct race_line *line, size_t index) {
  struct race_block *r = m->block->race;
  const char *p = r->pool + index * LINE_BYTES;
  *line = (struct race_line){r->number, false};
  memset(cell_at(r, index * LINE_CELLS), 0, r->cell_bytes);
  if (smem_holding(&m->block->smem, p, LINE_BYTES)) return;
  split(r, line, index);
  for (size_t i = 0; i < LINE_CELLS; i++)
    cell_at(r, index * LINE_CELLS + i)->outside =
        !smem_holding(&m->block->smem, p + i * CELL_BYTES, CELL_BYTES);
}

/* Calls visit for the cells of some bytes: once for a line that is touched as a whole. What writes
 * a whole line leaves its cells alike. */
typedef void visit_fn(struct machine *m, struct cell *c, const void *address,
                      const struct access *now);

static inline __attribute__((always_inline)) void visit_cells(struct machine *m, const char *p,
                                                              size_t bytes, bool whole_alike,
                                                              visit_fn *visit,
                                                              const struct access *now) {
  struct race_block *r = m->block->race;
  size_t i = (size_t)(p - r->pool) / CELL_BYTES;
  const size_t end = ((size_t)(p - r->pool) + bytes + CELL_BYTES - 1) / CELL_BYTES;
  while (i < end) {
    struct race_line *line = &r->lines[i / LINE_CELLS];
    if (line->block != r->number) reset_line(m, line, i / LINE_CELLS);
    const size_t next = (i / LINE_CELLS + 1) * LINE_CELLS, stop = next < end ? next : end;
    const bool whole = i % LINE_CELLS == 0 && stop == next;
    if (!whole) split(r, line, i / LINE_CELLS);
    const size_t last = line->split ? stop : i + 1;
    for (size_t j = i; j < last; j++) visit(m, cell_at(r, j), r->pool + j * CELL_BYTES, now);
    if (whole && whole_alike) line->split = false;
    i = stop;
  }
}

/* ---- accesses ---- */

/* Of several threads at the same clock two are enough: one of them is not the next writer. */
static void note_read(struct access *read, const struct access *now) {
  unsigned short other = now->thread;
  if (read->clock == now->clock) other = read->thread != now->thread ? read->thread : read->other;
  *read = *now;
  read->other = other;
}

static void check_read(struct machine *m, struct cell *c, const void *address,
                       const struct access *now) {
  if (c->outside) race_fail(m, CONFLICT_STRAY, address, now, false);
  if (c->in_flight)
    race_found(m, CONFLICT_IN_FLIGHT, address, now, false, &c->write);
  else if (!c->write.clock)
    race_found(m, CONFLICT_UNWRITTEN, address, now, false, NULL);
  else if (!race_ordered(m->block->race, &c->write, now->thread))
    race_found(m, CONFLICT_WRITE, address, now, false, &c->write);
  note_read(&c->read[now->thread / WARP], now);
}

static void check_write(struct machine *m, struct cell *c, const void *address,
                        const struct access *now) {
  const struct race_block *r = m->block->race;
  if (c->outside) race_fail(m, CONFLICT_STRAY, address, now, true);
  if (c->in_flight)
    race_found(m, CONFLICT_IN_FLIGHT, address, now, true, &c->write);
  else if (!race_ordered(r, &c->write, now->thread))
    race_found(m, CONFLICT_WRITE, address, now, true, &c->write);
  for (int w = 0; w < r->warps; w++)
    if (!race_ordered(r, &c->read[w], now->thread))
      race_found(m, CONFLICT_READ, address, now, true, &c->read[w]);
  memset(c->read, 0, (size_t)r->warps * sizeof *c->read);
  c->write = *now;
}

static void begin_copy(struct machine *m, struct cell *c, const void *address,
                       const struct access *now) {
  check_write(m, c, address, now);
  c->in_flight = true;
}

/* What the copy has written is there for the thread that waited, and through it for others. */
static void end_copy(struct machine *m, struct cell *c, const void *address,
                     const struct access *now) {
  (void)m, (void)address;
  c->in_flight = false;
  c->write = *now;
}

void race_shared_access(struct machine *m, const char *p, size_t bytes, bool write,
                        const struct access *now) {
  if (write)
    visit_cells(m, p, bytes, true, check_write, now);
  else
    visit_cells(m, p, bytes, false, check_read, now);
}

void race_shared_begin_copy(struct machine *m, const char *p, size_t bytes,
                            const struct access *now) {
  visit_cells(m, p, bytes, true, begin_copy, now);
}

void race_shared_end_copy(struct machine *m, const char *p, size_t bytes,
                          const struct access *now) {
  visit_cells(m, p, bytes, true, end_copy, now);
}
