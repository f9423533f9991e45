/* SPDX-License-Identifier: MIT
 * ref_world.h - for the tests of the float64 reference: variants built node by node, without the
 * front end, their arrays, and the pieces of recurrences written out by hand.
 */
#ifndef MKC_TESTS_REF_WORLD_H
#define MKC_TESTS_REF_WORLD_H

#include "support.h"

#include "ref.h"

enum { MAX_LEAVES = 12, DK = 5, DV = 4 };
#define REF_TOLERANCE 1e-12

/* ---- a variant and a call ---- */

struct world {
  struct arena arena;
  jmp_buf oom;
  unsigned ids;
  int nleaves;
  const struct leaf *leaves[MAX_LEAVES];
  struct branch branch;
  struct variant variant;
  /* the call */
  struct ref_array arrays[MAX_LEAVES];
  struct ref_call call;
};

struct expr *node(struct world *w, enum op op, const struct expr *a, const struct expr *b);
const struct expr *number(struct world *w, double x);
const struct expr *symbol(struct world *w, enum symbol s);
const struct expr *unary(struct world *w, enum op op, const struct expr *a);
const struct expr *binary(struct world *w, enum op op, const struct expr *a, const struct expr *b);
const struct expr *times(struct world *w, const struct expr *a, const struct expr *b);
/* l2norm(a, 1e-6) */
const struct expr *norm(struct world *w, const struct expr *a);
/* A leaf of its own, in the order of the calls; q, k and v are 0, 1 and 2. */
const struct expr *leaf(struct world *w, const char *name, enum axis axis, bool param, bool step);
const struct expr *input(struct world *w, const char *name, enum axis axis);
void add_factor(struct world *w, struct factor f);
void add_weight(struct world *w, struct weight m);
/* decay(exp(log)) */
void add_decay(struct world *w, const struct expr *log);
/* (identity or decay(exp(log))) + outer(b, a) */
void add_outer(struct world *w, enum factor_kind kind, const struct expr *log, const struct expr *b,
               const struct expr *a);
/* delta(beta) with the branch's k; its v becomes beta v */
void add_delta(struct world *w, const struct expr *beta);
/* One branch with q, k, v and a scale of 0.5; one head of T = 23 tokens. */
struct world *world_create(void);
void world_destroy(struct world *w);
int64_t width_of(const struct leaf *l, const struct ref_call *c); /* of its axis */
/* Draws what has no array yet; heads 0 is H. */
void draw_all(struct world *w);
/* A leaf's array, to read or to change. */
double *array(struct world *w, const char *name);
size_t o_size(const struct world *w);
/* Returns o; fails the test on an error. */
double *run_engine(struct world *w, enum ref_engine engine);
/* Every engine that applies gives `expected`; exactly `engines` of them do apply. */
void assert_engines(struct world *w, const double *expected, int engines);
/* For calls that may fail: then the message must contain `message`. */
mkc_status run_status(struct world *w, enum ref_engine engine, const char *message);
/* mLSTM, drawn: k = exp(i) k', transition { decay(sigmoid(f)) }, normaliser max(|rowsum|, 1) */
struct world *mlstm_create(void);

/* ---- by hand ---- */

struct hand { /* one head */
  double S[DK][DV];
};

/* S += gain k v^T */
void write_state(struct hand *s, const double *k, const double *v, double gain);
/* S *= w */
void scale_rows(struct hand *s, double w);
/* o = scale S^T q */
void read_state(const struct hand *s, const double *q, double scale, double *o);
/* S <- S + beta k (v - S^T k)^T, as the paper has it */
void delta_step(struct hand *s, const double *k, const double *v, double beta);
/* out = k / sqrt(|k|^2 + 1e-6) */
void normalised(const double *k, double *out);
double dot(const double *x, const double *y);
double logistic(double x);

#endif
