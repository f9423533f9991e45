/* SPDX-License-Identifier: MIT
 * plan.h - choosing a schedule and its sizes for one op, by arithmetic.
 *
 * A schedule says whether it applies to a variant at a configuration, lists its candidates (tile
 * sizes, stages) and what each would cost. The planner takes the cheapest that fits; every
 * candidate keeps the reason why it was or was not taken.
 *
 * Costs are for a filled card, so that B and H choose no kernel; a caller that knows them may hint
 * (config.heads), and the planner counts the waves of blocks that so many heads make.
 */
#ifndef MKC_PLAN_H
#define MKC_PLAN_H

#include "gen.h"
#include "ir.h"
#include "target.h"

struct schedule;
struct emission;

struct plan {
  const struct schedule *schedule;
  const struct target *target;
  struct gen_config config; /* arch, pass, dtype, dk, dv as asked; chunk as chosen */
  int dv_tile;              /* value channels of a block */
  int stages;               /* chunks in flight; 0: no chunks */
  int halves;               /* 2: two warps share 16 value channels, each half the rows; else 0 */
  int near_slots;           /* states of a fenwick mask that a block has in shared memory */
  int threads;              /* a block */
  int blocks_a_head;
  int blocks_an_sm; /* that fit at once */
  int smem_bytes;   /* a block */
  int registers;    /* a thread wants, about */
  double bytes;     /* a token of one head: each input read once, each output written once */
  double flops;     /* a token of one head */
  double floor_ns;  /* a token of one head, on target->card: the larger of the two */
  /* What a block takes to move on by a token, ns: a part that nothing hides, and a part for each
   * block that shares the SM, itself included. */
  double alone_ns, share_ns;
  double rate_ns;     /* a token of one head: what this plan takes of memory and tensor cores */
  const char *given;  /* what bytes and flops suppose beside the sizes; NULL: nothing */
  const char *reason; /* why it cannot run; NULL if it can */
  /* the planner's */
  double predicted_ns; /* a token of one head, with the card filled */
  double cost_ns;      /* the same for config.heads heads where that is given: what ranks */
  double waves;        /* of blocks, for config.heads: 2.1 are two full ones and a tail; else 0 */
};

enum { PLAN_MAX_CANDIDATES = 40 }; /* of one schedule */

struct schedule {
  const char *name;          /* "scan" */
  const char *template_name; /* "templates/scan.k.c" */
  const char *about;
  mkc_pass pass;
  /* NULL if it serves this variant at this configuration; else what it lacks, for a person. */
  const char *(*lacks)(const struct variant *v, const struct gen_config *config, struct arena *a);
  /* Fills at most PLAN_MAX_CANDIDATES plans; those that cannot run have a reason. */
  int (*candidates)(const struct variant *v, const struct gen_config *config,
                    const struct target *target, struct plan *ret, struct arena *a);
  /* Adds the op's arrays and the template's own slots (emit.h). */
  void (*slots)(struct emission *e);
};

extern const struct schedule schedule_scan;          /* schedule_scan.c */
extern const struct schedule schedule_channel;       /* schedule_channel.c */
extern const struct schedule schedule_channel_delta; /* schedule_channel_delta.c */
extern const struct schedule schedule_delta;         /* schedule_delta.c */
extern const struct schedule schedule_fenwick;       /* schedule_fenwick.c */
extern const struct schedule schedule_fenwick_eager; /* schedule_fenwick_eager.c */
extern const struct schedule schedule_step;          /* schedule_step.c */
extern const struct schedule schedule_step_fenwick;  /* schedule_step_fenwick.c */

/* Every schedule, NULL at the end. */
extern const struct schedule *const schedules[];

/* All candidates of all schedules of the pass that apply, the best first; *ret_n >= 1, and plans[0]
 * can run. Errors: MKC_E_NO_SCHEDULE (names the slot or the size), MKC_E_ARCHITECTURE. */
mkc_status plan_op(const struct variant *v, const struct gen_config *config, struct arena *a,
                   const struct plan **ret, int *ret_n, struct error *err);

double plan_heads_a_wave(const struct plan *plan); /* that fill the card once */

/* ---- plan_print.c ---- */

const char *pass_name(mkc_pass pass); /* "step" */

/* (scan chunk=64 dv_tile=128 stages=3 threads=256 smem=174208 blocks_a_head=1) */
void plan_print(struct buf *out, const struct plan *plan);
/* one line more: bytes, FLOPs, floor and prediction */
void plan_print_cost(struct buf *out, const struct plan *plan);
/* "taken", "10 % slower" than the best, or why it cannot run */
void plan_verdict(struct buf *out, const struct plan *plan, const struct plan *best);
/* All candidates, the best first: a heading and a line each. */
void plan_print_table(struct buf *out, const struct plan *plans, int n);

#endif
