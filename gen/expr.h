/* SPDX-License-Identifier: MIT
 * expr.h - building expressions and asking about them. Types are in ir.h.
 *
 *   expr.c         constructors: shapes, folding, sharing
 *   expr_bounds.c  what interval arithmetic proves about a node
 *   expr_log.c     the logarithm of a factor, taken symbolically
 *   expr_query.c   what a spec's checker asks about an expression
 *   expr_text.c    as the spec would write it
 */
#ifndef MKC_EXPR_H
#define MKC_EXPR_H

#include "diag.h"
#include "ir.h"

enum {
  EXPR_MAX_TERMS = 2000,   /* of one expression */
  EXPR_MAX_BUILT = 200000, /* constructors called in one compile: bounds its time and memory */
};

/* The nodes of one compile. */
struct expr_ctx {
  struct arena *arena;
  struct diag *diag;         /* gets the reason when a constructor returns NULL */
  int line;                  /* of the spec, given to new nodes */
  const struct expr **slots; /* open addressing */
  size_t nslots, nnodes, built;
  struct buf scratch;
};

void expr_ctx_init(struct expr_ctx *c, struct arena *a, struct diag *d);
void expr_ctx_finish(struct expr_ctx *c); /* the nodes stay, they are the arena's */

/* ---- constructors. Equal nodes are one pointer, so == compares expressions. Numbers are folded in
 * double. Each returns NULL, with the reason in the diag, where the operation means nothing; a NULL
 * argument gives NULL, so that calls nest. ---- */

const struct expr *expr_const(struct expr_ctx *c, double value); /* finite in fp32, or NULL */
const struct expr *expr_option(struct expr_ctx *c, const char *name, double value);
const struct expr *expr_symbol(struct expr_ctx *c, enum symbol symbol);
const struct expr *expr_leaf(struct expr_ctx *c, const struct leaf *leaf);
/* op: any of arity 1 but the row operations */
const struct expr *expr_unary(struct expr_ctx *c, enum op op, const struct expr *a);
/* op: any of arity 2. number^x comes out as exp(log(number) * x). */
const struct expr *expr_binary(struct expr_ctx *c, enum op op, const struct expr *a,
                               const struct expr *b);
/* SUM, L2NORM, RMSNORM, SOFTMAX; eps for the norms, 0: their default (1e-6, 1e-5) */
const struct expr *expr_row(struct expr_ctx *c, enum op op, const struct expr *a, double eps);
/* The natural logarithm of a, which is known to be >= 0, rid of exp, sigmoid, products and powers:
 *   exp(g) -> g      sigmoid(f) -> -softplus(-f)      1 - 2^(-5 - head) -> log1p(-2^(-5 - head)) */
const struct expr *expr_log(struct expr_ctx *c, const struct expr *a);

/* Sets lo, hi and nan of a node whose other members are set. For every node: lo <= hi, neither is
 * NaN, lo < inf, hi > -inf; where every leaf keeps its contract and no intermediate overflows, the
 * value lies between them, up to the rounding of the operations, or it is NaN and nan is set. */
void expr_bounds(struct expr *e);

/* ---- questions ---- */

bool expr_uses(const struct expr *e, enum symbol symbol);
bool expr_uses_input(const struct expr *e);
/* Of e as a polynomial in qk; -1 where it is none, or of a degree above 64. */
int expr_degree(const struct expr *e);
/* A normaliser of degree 1 in rowsum and constants, of +, max, min and abs: a running maximum
 * cancels from it. */
bool expr_homogeneous(const struct expr *e);
/* Some exp inside is unbounded in qk. */
bool expr_grows(const struct expr *e);
/* e = exp(log) * rest with a scalar log that is unbounded above; false: no such factor. */
bool expr_split_exp(struct expr_ctx *c, const struct expr *e, const struct expr **ret_log,
                    const struct expr **ret_rest);
/* a = c * b for a scalar c, provably: the same factors once scalars are dropped. */
bool expr_parallel(const struct expr *a, const struct expr *b);
/* Of the scalars dropped there: 1 where their product is >= 0, -1 where it is <= 0, 0: not known.
 */
int expr_scalar_sign(const struct expr *e);
/* The largest Euclidean norm over channels that can be proved; inf: none. */
double expr_norm(const struct expr *e);
double expr_magnitude(const struct expr *e); /* max |value| */
/* Calls visit for every leaf, once for each time it is mentioned. */
void expr_each_leaf(const struct expr *e, void (*visit)(void *data, const struct leaf *leaf),
                    void *data);

/* ---- text ---- */

const char *op_name(enum op op);
const char *axis_name(enum axis axis); /* "dk"; "scalar" for AXIS_NONE */
const char *symbol_name(enum symbol symbol);
/* expr_print into the arena. */
const char *expr_text(struct expr_ctx *c, const struct expr *e);
/* "a dk-vector", "a scalar", "a vector of 2 dk": for messages */
const char *expr_shape(struct expr_ctx *c, const struct expr *e);
/* A word of e that can be found in the source: the name of a leaf or a symbol; may be NULL. */
const char *expr_word(const struct expr *e);

#endif
