/* SPDX-License-Identifier: MIT
 * race.h - the race checker: every access to memory that threads share, against every other one
 * that the kernel's barriers do not order it with.
 *
 * Logical time. What orders memory (barriers, warp_sync) takes whole warps, so a warp has one
 * clock, which each such operation advances, and all of its lanes know the same about the other
 * warps: up to which clock their accesses came before what they do now. Two accesses by different
 * threads are ordered if the later one's warp knows the clock of the earlier one. An operation that
 * one lane takes part in by itself (an mbarrier's arrive) will need a clock a lane, and a second
 * proxy's accesses (TMA, wgmma) a second `known`, as of the last fence between the proxies.
 *
 * Shared memory (race_shared.c): per 2 bytes the last write, the last read of each warp, and
 * whether an asynchronous copy is on its way there. Caught: accesses without order, reads of what
 * nobody has written, and whatever touches the destination of a copy in flight.
 *
 * Global memory (race_global.c): per 2 bytes that the launch has written the last write. Caught:
 * two blocks of which one writes what the other writes or has written to and now reads, and the
 * same for two threads of a block without order. Not caught: a write after another thread's read;
 * which of two resident blocks comes first is up to the schedule.
 * Where the launch has a guard, a write outside of its arrays is caught, and a read of its poison.
 *
 * After the first conflict no block begins. Those that are resident go on to their ends, where they
 * may well deadlock, which then says more; a stray access ends them. Accesses are told apart by the
 * return address of the hook that reported them, which becomes a line of the source only for the
 * report.
 */
#ifndef MKC_CPU_RACE_H
#define MKC_CPU_RACE_H

#include "machine.h"

/* An access; all zero: there was none. */
struct access {
  unsigned clock;               /* of its warp, from 1 */
  int pc;                       /* from race.base */
  unsigned short thread, other; /* other: a second thread that did the same at the same clock */
};

enum conflict_kind {
  CONFLICT_READ,      /* with a read of another thread */
  CONFLICT_WRITE,     /* with a write of another thread */
  CONFLICT_IN_FLIGHT, /* with an asynchronous copy */
  CONFLICT_UNWRITTEN, /* a read of nothing */
  CONFLICT_BLOCK,     /* with a write of another block */
  CONFLICT_STRAY,     /* no conflict: outside of every array */
  CONFLICT_ENDLESS,   /* no conflict: a thread that never waits */
};

struct conflict {
  enum conflict_kind kind;
  bool write;
  struct access now, before;
  const void *address;
  long long block, block_before; /* the second for CONFLICT_BLOCK */
};

struct race_page;

enum { MAX_CONFLICTS = 8 }; /* that differ in their places */

/* What a place for a block knows of the block that is there. */
struct race_block {
  unsigned number; /* the block's index and 1 */
  int warps;
  unsigned clock[MAX_WARPS];            /* of what warps do now */
  unsigned known[MAX_WARPS][MAX_WARPS]; /* [w][x]: the clock of x up to which w knows it */

  /* shared memory */
  const char *pool;
  struct race_line *lines; /* one for 16 bytes */
  char *cells;             /* eight for a line */
  size_t cell_bytes;
};

/* What a launch's blocks share. */
struct race {
  const char *base;            /* in the kernel's object */
  unsigned long long accesses; /* since a thread last waited */
  struct conflict conflicts[MAX_CONFLICTS];
  int nconflicts;

  /* global memory */
  struct race_page **pages; /* a hash table */
  size_t npages, pages_cap; /* the capacity is a power of 2 */
};

/* NULL: out of memory. */
struct race *race_create(const struct machine *m);
void race_destroy(struct race *r);

struct race_block *race_block_create(const struct machine *m, const struct smem *s);
void race_block_destroy(struct race_block *r);
void race_block_begin(struct machine *m, const struct block *b);

/* A copy of the thread that runs begins; it has waited for it. */
void race_copy_begin(struct machine *m, const struct copy *c);
void race_copy_end(struct machine *m, const struct copy *c);

/* These warps of the block, a bit each, have met: what each did comes before what each does from
 * now on. */
void race_sync(struct race_block *r, unsigned warps);

/* True: `before` is ordered before what `thread` does now, or is none. */
bool race_ordered(const struct race_block *r, const struct access *before, int thread);

/* Remembers a conflict; before may be NULL. NULL: there is one of its places already, or no room.
 */
struct conflict *race_found(struct machine *m, enum conflict_kind kind, const void *address,
                            const struct access *now, bool write, const struct access *before);
/* Remembers it and leaves the kernel for good. */
_Noreturn void race_fail(struct machine *m, enum conflict_kind kind, const void *address,
                         const struct access *now, bool write);

/* Appends the conflicts, a line each, to out; starts addr2line. */
void race_report(const struct machine *m, struct buf *out);

/* ---- race_shared.c ---- */

bool race_shared_create(struct race_block *r, const struct smem *s);
void race_shared_destroy(struct race_block *r);
void race_shared_access(struct machine *m, const char *p, size_t bytes, bool write,
                        const struct access *now);
void race_shared_begin_copy(struct machine *m, const char *p, size_t bytes,
                            const struct access *now);
void race_shared_end_copy(struct machine *m, const char *p, size_t bytes, const struct access *now);

/* ---- race_global.c ---- */

void race_global_access(struct machine *m, const char *p, size_t bytes, bool write,
                        const struct access *now);
void race_global_destroy(struct race *r);

#endif
