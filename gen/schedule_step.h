/* SPDX-License-Identifier: MIT
 * schedule_step.h - the files of the step schedule to each other.
 *
 *   step_program.c           a branch as operations on the state, and the values that they take
 *   schedule_step.c          when the schedule applies, its candidates and what they cost
 *   schedule_step_fenwick.c  the same for the one under a Fenwick mask
 *   schedule_step_slots.c    what their templates are rendered with
 *
 * A token's recurrence is a list of operations on the state S [dk,dv], in the order they act. Gated
 * DeltaNet's:
 *
 *   scale a          S = a S
 *   project k        r = S' k
 *   add k            S = S + k (v - beta r)'
 *   read             o = S' q
 */
#ifndef MKC_SCHEDULE_STEP_H
#define MKC_SCHEDULE_STEP_H

#include "emit.h"

enum { STEP_TOKENS = 8 }; /* whose values a block has at once */
/* What costs under a Fenwick mask suppose: a sequence of up to 16 384 tokens, and of its slots
 * those that are live on average. */
enum { STEP_LEVELS = 15, STEP_LIVE_SLOTS = 7 };
enum { STEP_MAX_VALUES = 32, STEP_MAX_TERMS = 16, STEP_MAX_OPS = 64, STEP_MAX_SUM = 16 };

/* Scalars of a token: each a product of expressions. */
struct step_scalar {
  int n;
  struct expr_term terms[STEP_MAX_TERMS];
};

struct step_scalars {
  int n;
  struct step_scalar at[STEP_MAX_VALUES];
};

/* Values over the channels of a token. */
struct step_vectors {
  int n;
  const struct expr *at[STEP_MAX_VALUES];
};

enum step_kind {
  STEP_SCALE,    /* S = scalar * S */
  STEP_SCALE_DK, /* S = diag(row) S */
  STEP_SCALE_DV, /* S = S diag(column) */
  STEP_PROJECT,  /* r_n = S' row, n counting the projections */
  STEP_ADD,      /* S = S + row (v + sum of +-scalar * r_n)', v where writes is set */
  STEP_READ      /* o = scale * S' row */
};

struct step_op {
  enum step_kind kind;
  int value; /* of scalars, rows or columns, by kind */
  bool writes;
  int nsum;
  struct {
    int projection;
    int scalar; /* -1: 1 */
    bool minus;
  } sum[STEP_MAX_SUM];
};

struct step_program {
  struct step_scalars scalars;
  struct step_vectors rows, columns; /* over dk, over dv; columns.at[0] is v */
  int q, k;                          /* of rows */
  int scale;                         /* of scalars; -1: 1 */
  int nprojections, nops;
  struct step_op ops[STEP_MAX_OPS];
};

/* False: the branch has more factors or terms than a program holds. */
bool step_program(const struct branch *b, struct step_program *ret);

/* ---- schedule_step.c ---- */

/* NULL, or what is lacking beside the mask. */
const char *step_lacks(const struct variant *v, const struct gen_config *config, struct arena *a);
/* The sizes that a schedule tries. states: of a head, which a call reads and writes; more_smem:
 * bytes of a block beside its tokens' values, NULL: none. */
int step_candidates(const struct schedule *schedule, const struct variant *v,
                    const struct gen_config *config, const struct target *target, int states,
                    int (*more_smem)(const struct plan *p), struct plan *ret, struct arena *a);

/* ---- schedule_step_slots.c ---- */

void schedule_step_slots(struct emission *e);

#endif
