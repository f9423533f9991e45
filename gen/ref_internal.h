/* SPDX-License-Identifier: MIT
 * ref_internal.h - what the files of the float64 reference share.
 *
 *   ref_expr.c     the values of a variant's expressions, for one head
 *   ref_dense.c    the engines; each adds one branch of one head to y and to the row sums
 *   ref_cache.c
 *   ref_state.c
 *   ref_chunked.c
 *   ref_mask.c     the mask by its definition
 *   ref.c          checks the call, runs an engine over batch and heads, normalises, writes o
 *   ref_check.c    random arrays, and the comparison of the engines
 *
 * All scratch is allocated before the first head and used again by every head.
 */
#ifndef MKC_REF_INTERNAL_H
#define MKC_REF_INTERNAL_H

#include "ref.h"

/* Symbols that an engine binds while it runs; a value depends on one of them or on none. */
enum ref_late { REF_EARLY, REF_LATE_QK, REF_LATE_ROWSUM, REF_LATE_O };

/* The value of a node: [T][steps][width], where a dimension of size 1 broadcasts. */
struct ref_value {
  const struct expr *expr; /* NULL: no expression of the variant uses this id */
  enum ref_late late;
  int64_t T;
  int steps, width;
  double *data;
};

struct ref_program { /* values in the order in which they can be computed */
  size_t n;
  struct ref_value **values;
};

struct ref_binding {
  const double *data; /* [T][width] */
  int64_t T;
  int width;
};

struct ref_eval {
  const struct variant *variant;
  const struct ref_call *call;
  int steps; /* of the variant */
  int V;     /* columns of o: the width of v, dv where v is a scalar */
  size_t n;
  struct ref_value *values;  /* by expr->id */
  struct ref_program early;  /* everything that no late symbol enters */
  struct ref_program *score; /* of each branch, the part in qk */
  struct ref_program normaliser, output;
  struct ref_binding bound[REF_LATE_O + 1];
};

/* Visits every expression that the engines read; arguments are the visitor's to follow. */
typedef void ref_visit(void *data, const struct expr *e);
void ref_each_root(const struct variant *v, ref_visit *visit, void *data);

/* Plans every value of the variant. Errors: MKC_E_SPEC when widths or steps do not fit, which a
 * checked variant does not show. */
mkc_status ref_eval_init(struct ref_eval *ev, struct arena *a, const struct variant *v,
                         const struct ref_call *call, struct error *err);
void ref_eval_head(struct ref_eval *ev, int64_t b, int64_t h);
/* Binds the program's symbol and computes its values; T <= the T that ref_eval_init planned. */
void ref_eval_late(struct ref_eval *ev, const struct ref_program *p, enum ref_late symbol,
                   struct ref_binding bound);

/* Rows of a branch's state: the width of its keys. */
int ref_rows(const struct ref_eval *ev, const struct branch *b);

static inline const struct ref_value *ref_value(const struct ref_eval *ev, const struct expr *e) {
  return &ev->values[e->id];
}

/* The channels of one token and step. */
static inline const double *ref_at(const struct ref_value *x, int64_t t, int step) {
  const int64_t row = (x->T == 1 ? 0 : t) * x->steps + (x->steps == 1 ? 0 : step);
  return x->data + row * x->width;
}

static inline double ref_scalar(const struct ref_eval *ev, const struct expr *e, int64_t t,
                                int step) {
  return ref_at(ref_value(ev, e), t, step)[0];
}

/* Copies a token's channels to n doubles, broadcasting a scalar. */
void ref_vector(const struct ref_eval *ev, const struct expr *e, int64_t t, int step, int n,
                double *out);

/* Whether a factor acts at this step of a token. */
static inline bool ref_acts(const struct factor *f, int step) {
  return f->step || step == 0;
}

/* The factor is b a^T's i-th term: delta(beta) is I - (beta k) k^T. */
int ref_nlow(const struct factor *f);
void ref_low(const struct ref_eval *ev, const struct branch *br, const struct factor *f, int i,
             int64_t t, int step, int K, double *ret_b, double *ret_a);

/* What an engine reads and adds to, for one head. */
struct ref_head {
  double *y;        /* [T][V] += sum of weights times v */
  double *n;        /* [T] += sum of weights */
  double *m;        /* [T]: y and n are to be multiplied by exp(m); only ref_state.c sets it */
  const double *h0; /* [K][V] or NULL; under fenwick a slot, the next slot_stride further */
  double *ht;       /* the same */
  const double *n0; /* [K] or NULL, with a normaliser */
  double *nt;
  int64_t slot_stride;
  int64_t position; /* of the first token */
};

struct ref_engine_ops {
  const char *name;
  /* Why the engine does not compute this branch; NULL: it does. */
  const char *(*refuses)(const struct variant *v, const struct branch *b);
  void *(*create)(struct arena *a, const struct ref_eval *ev, const struct branch *b);
  void (*run)(void *scratch, struct ref_eval *ev, const struct branch *b,
              const struct ref_head *head);
};
extern const struct ref_engine_ops ref_dense_ops, ref_state_ops, ref_chunked_ops, ref_cache_ops;

/* A write gate exp(log_write) that is kept apart with a running maximum. */
bool ref_has_maximum(const struct variant *v, const struct branch *b);
/* M[1+s] = the product of the branch's weights for (t, s), s >= -1; s = -1 is the state before the
 * first token, to which only the decays speak. */
void ref_mask_row(const struct ref_eval *ev, const struct branch *b, int64_t t, double *M);
int ref_bit_length(int64_t x);
/* Sum of the logarithms of the decays in the mask at token t. */
double ref_mask_log(const struct ref_eval *ev, const struct branch *b, int64_t t);
/* S [K][C] from the state that the head begins with, zeros where there is none, and back. */
void ref_load_state(const struct ref_head *head, int K, int V, int C, double *S);
void ref_store_state(const struct ref_head *head, int K, int V, int C, const double *S);

const struct weight *ref_fenwick(const struct branch *b); /* NULL: none */

/* arena_alloc of n doubles; out of memory where the size overflows. */
double *ref_doubles(struct arena *a, int64_t n, int64_t m);

#endif
