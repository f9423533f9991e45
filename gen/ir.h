/* SPDX-License-Identifier: MIT
 * ir.h - the checked normal form of a spec, and the vocabulary of the compiler.
 *
 *   variant     what a spec describes
 *   leaf        an array the caller supplies: input [B,T,H'(,axis)] or param [H'(,axis)]
 *   expr        a pointwise expression; a hash-consed node of a DAG
 *   factor      one step of the transition: diag(w) + sum of b a^T
 *   weight      one factor of the elementwise mask
 *   branch      one (f(A) * M) V; most variants have one
 *   plan        the choice of schedule, tile sizes, warps and stages for an op (plan.h)
 *
 * Per head, with a the decay factors, p the position of token t (docs and the spec language):
 *
 *   O = (f(A) * M) V / n,   A[t,s] = scale * q_t^T D_t ... D_{s+1} k_s,   n = a function of rowsum
 *
 * Everything lives in the arena of the compile and is immutable once variant_check has passed.
 */
#ifndef MKC_IR_H
#define MKC_IR_H

#include "../runtime/base/arena.h"
#include "../runtime/base/buf.h"
#include "../runtime/base/error.h"

#include <stdbool.h>

enum op {
#define OP(id, name, arity, cuda) OP_##id,
#include "ops.h"
#undef OP
  OP_COUNT
};

enum axis { AXIS_NONE, AXIS_DK, AXIS_DV, AXIS_LEVELS, AXIS_TAPS };

enum symbol { SYM_HEAD, SYM_HEADS, SYM_DK, SYM_DV, SYM_QK, SYM_ROWSUM, SYM_O };

/* What a leaf's values are for: fixes its type and how `check` draws it. */
struct leaf {
  const char *name;
  bool param; /* [H'(,axis)], else input [B,T,H'(,axis)] */
  enum axis axis;
  bool step;       /* has one value for each of the variant's steps: [B,T,steps,H'(,axis)] */
  double min, max; /* the contract; -inf and inf when not given */
  bool fp32;       /* a param, or enters a decay, a delta rate or a fenwick weight */
  int line;
  int index; /* its place in variant->leaves, the order of first mention */
};

struct expr {
  enum op op;
  enum axis axis;          /* of the value; AXIS_NONE is a scalar */
  bool token;              /* varies from token to token */
  bool step;               /* varies over the steps of a token */
  int width;               /* multiple of the axis (concat adds); 1 otherwise */
  double lo, hi;           /* what interval arithmetic proves */
  bool nan;                /* may be NaN: a root or log of something negative, a division by zero */
  double value;            /* CONST and OPTION; also the eps of l2norm and rmsnorm */
  const char *option;      /* OPTION: its name */
  const struct leaf *leaf; /* INPUT, PARAM */
  enum symbol symbol;      /* SYMBOL */
  const struct expr *arg[2];
  int line;      /* of the spec, where the node was first built */
  unsigned size; /* terms, shared ones counted every time */
  unsigned id;   /* unique in the compile; arguments have smaller ids */
};

struct lowrank {
  const struct expr *b, *a; /* + b a^T, both over dk; a minus sign is in b */
};

enum factor_kind { FACTOR_DECAY, FACTOR_DELTA, FACTOR_GENERAL };

/* F = diag(exp(log)) + sum of b a^T. delta(beta) also multiplied the variant's v by beta. */
struct factor {
  enum factor_kind kind;
  const struct expr *diag; /* the decay factor as written, in [0,1]; NULL is the identity */
  const struct expr *log;  /* its natural logarithm, taken symbolically; NULL with diag */
  bool right;              /* over dv: S diag(w) instead of diag(w) S */
  const struct expr *beta; /* FACTOR_DELTA */
  int nlow;
  const struct lowrank *low;
  bool step; /* acts at every step of a token, not only the first */
  int line;
};

enum weight_kind {
  WEIGHT_DECAY,
  WEIGHT_FENWICK,
  WEIGHT_TOEPLITZ,
  WEIGHT_BIDIRECTIONAL,
  WEIGHT_WINDOW,
  WEIGHT_BLOCK,
  WEIGHT_FIRST,
  WEIGHT_OR,
  WEIGHT_AND,
  WEIGHT_NOT
};

struct weight {
  enum weight_kind kind;
  const struct expr *expr;     /* fenwick: over levels; toeplitz: over taps; decay: the factor;
                                  window, block, first: the size (CONST or OPTION) */
  const struct expr *log;      /* decay: its natural logarithm */
  const struct weight *arg[2]; /* or, and, not */
  int line;
};

enum decay_kind { DECAY_NONE, DECAY_CONSTANT, DECAY_SCALAR, DECAY_CHANNEL };
enum delta_kind { DELTA_PLAIN, DELTA_RULE, DELTA_FORM, DELTA_LOWRANK };

struct branch {
  const struct expr *q, *k; /* over dk, or scalars */
  const struct expr *v;     /* over dv; times beta under delta */
  const struct expr *scale; /* neither token nor axis */
  const struct expr *score; /* in SYM_QK */
  int degree;               /* of the score as a polynomial in qk; -1: not one */
  bool linear;              /* score is qk itself */
  bool read_before;
  bool causal;
  int nfactors;
  const struct factor *factors; /* in the order they act */
  int nweights;
  const struct weight *weights; /* their product is M */
  /* how the lattice names it */
  enum decay_kind decay; /* of the transition, plus decays of the mask where they are the same */
  bool value_decay;      /* a decay over dv */
  enum delta_kind delta;
  bool fenwick;
  /* exp(write gate) * rest under a normaliser: k = exp(log_write) * k_rest, state kept with a
   * running maximum; NULL where there is none */
  const struct expr *log_write, *k_rest;
  int line;
};

/* A whole number that a build may set: option { "window", 512 }. */
struct spec_option {
  const char *name;
  int value; /* as set, else the default */
  int default_value, line;
};

struct variant {
  const char *path; /* of the spec, for messages */
  const char *name;
  const char *about;        /* free text: never reaches emitted source; may be NULL */
  const struct expr *steps; /* CONST or OPTION; NULL is 1 */
  int nbranches;
  const struct branch *branches;
  const struct expr *normaliser; /* in SYM_ROWSUM; NULL: none */
  const struct expr *output;     /* in SYM_O; NULL: o */
  int nleaves;
  const struct leaf **leaves; /* in the order of first mention; q, k, v left out come last */
  int noptions;
  const struct spec_option *options; /* all that the spec declares, in that order */
  int nwarnings;
  const char **warnings; /* "spec.lua:4: the transition may grow: ..." */
  int line;              /* of variant { */
};

/* ---- expr.c: building expressions, see expr.h ---- */
struct expr_ctx; /* one compile's table of nodes */

/* ---- op_value.c: one pointwise operation in float64; y is ignored by those of one operand ---- */
bool op_is_pointwise(enum op op);
double op_value(enum op op, double x, double y);

/* ---- expr_text.c ---- */
/* As the spec would write it: "exp(-exp(A_log) * dt)". */
void expr_print(struct buf *out, const struct expr *e);

/* ---- spec.c: a spec's text -> a checked variant. The only file that knows lua.h with template.c.
 * Errors are MKC_E_SPEC: "file:line:col: error: what" with the line and a caret. ---- */
mkc_status spec_load(const char *path, const char *text, size_t len, struct arena *a,
                     const struct variant **ret, struct error *err);
/* With values for its options in place of their defaults. MKC_E_ARGUMENT: the spec has no such
 * option, or it is set twice, or to a number out of range. */
mkc_status spec_load_with(const char *path, const char *text, size_t len,
                          const mkc_setting *settings, int nsettings, struct arena *a,
                          const struct variant **ret, struct error *err);

/* ---- describe.c: what the compiler understood, as update equations ---- */
void variant_describe(struct buf *out, const struct variant *v);

#endif
