/* SPDX-License-Identifier: MIT
 * front.h - the front end's own header: from a spec's text to a checked variant.
 *
 *   spec.c           runs the text in a sandbox (spec_heap.c: its memory; spec_value.c,
 *                    spec_operator.c, spec_leaf.c, spec_table.c: what it sees and calls)
 *   leaf.c           input, param and option: names and contracts
 *   setting.c        the caller's values for options
 *   factor.c         decay, delta, outer, and their sums
 *   mask.c           fenwick, window, ... and their products
 *   variant.c        a draft -> a variant: what belongs where; parts of it are in
 *                    variant_transition.c, variant_mask.c and variant_warn.c
 *
 * A function that finds an error says so in front->diag and returns NULL or false.
 */
#ifndef MKC_FRONT_H
#define MKC_FRONT_H

#include "diag.h"
#include "expr.h"
#include "ir.h"

enum {
  MAX_LEAVES = 64,
  MAX_OPTIONS = 16,
  MAX_FACTORS = 16,
  MAX_LOWRANK = 16, /* terms of one factor */
  MAX_WEIGHTS = 32, /* terms of one mask */
  MAX_BRANCHES = 8,
  MAX_SIZE = 1 << 20, /* of an option, a window, steps */
};

/* One spec being loaded. */
struct front {
  struct arena *arena;
  const char *path, *text;
  size_t len;
  struct diag diag;
  struct expr_ctx exprs; /* exprs.line: the line of the spec that runs */
  int nleaves, noptions;
  struct leaf *leaves[MAX_LEAVES];
  struct spec_option options[MAX_OPTIONS];
  const mkc_setting *settings; /* the caller's values for options */
  int nsettings;
};

/* ---- leaf.c ---- */

/* what: "name", "input", ...; the name comes back as a copy, NULL when it is no identifier. */
const char *front_identifier(struct front *f, const char *what, const char *s, size_t len);
/* l: name checked and copied; line, index and fp32 are set here. The same leaf may be declared more
 * than once, in the same way. */
const struct expr *front_leaf(struct front *f, const struct leaf *l);
const struct expr *front_option(struct front *f, const char *name, double default_value);
/* `input { "g", dk }`, for messages; contract: NULL or ", max = 0" */
const char *leaf_text(struct arena *a, const struct leaf *l, const char *contract);

/* ---- setting.c ---- */

/* What is wrong with the settings by themselves, before the spec runs; MKC_E_ARGUMENT. */
mkc_status settings_check(const struct front *f, struct error *err);
/* The value that the caller gives the option, or its default. */
int settings_value(const struct front *f, const char *name, int default_value);
/* That each setting has met its option, after the spec ran; MKC_E_ARGUMENT, with what there is. */
mkc_status settings_met(const struct front *f, struct error *err);
/* Appends what the options were set to, to the error of a spec that may be wrong for it only. */
void settings_note(const struct front *f, struct error *err);

/* ---- factor.c ---- */

/* A factor while the spec runs. */
struct draft_factor {
  struct factor factor;
  bool bare; /* outer(b, a) alone, which is not a factor yet */
};
const struct draft_factor *factor_decay(struct front *f, const struct expr *w);
const struct draft_factor *factor_delta(struct front *f, const struct expr *beta);
const struct draft_factor *factor_outer(struct front *f, const struct expr *b,
                                        const struct expr *a);
const struct draft_factor *factor_identity(struct front *f);
/* a + b, or a - b */
const struct draft_factor *factor_add(struct front *f, const struct draft_factor *a,
                                      const struct draft_factor *b, bool minus);
const char *factor_word(const struct draft_factor *d); /* "decay", as messages call it */

/* ---- mask.c ---- */

/* A product of weights while the spec runs. */
struct draft_mask {
  int n, terms; /* terms: with those inside | & ~ */
  const struct weight *weights;
};
const struct draft_mask *mask_ones(struct front *f);
const struct draft_mask *mask_bidirectional(struct front *f);
const struct draft_mask *mask_decay(struct front *f, const struct draft_factor *d);
const struct draft_mask *mask_fenwick(struct front *f, const struct expr *weight);
const struct draft_mask *mask_toeplitz(struct front *f, const struct expr *taps);
/* window, block, first */
const struct draft_mask *mask_sized(struct front *f, enum weight_kind kind,
                                    const struct expr *size);
/* or, and, not (b NULL) */
const struct draft_mask *mask_logic(struct front *f, enum weight_kind kind,
                                    const struct draft_mask *a, const struct draft_mask *b);
const struct draft_mask *mask_product(struct front *f, const struct draft_mask *a,
                                      const struct draft_mask *b);
const char *weight_name(enum weight_kind kind);
/* A whole number or an option, from 1 to MAX_SIZE. */
const struct expr *front_size(struct front *f, const char *what, const struct expr *e);

/* ---- variant.c ---- */

enum field {
  FIELD_NAME,
  FIELD_ABOUT,
  FIELD_Q,
  FIELD_K,
  FIELD_V,
  FIELD_SCALE,
  FIELD_TRANSITION,
  FIELD_MASK,
  FIELD_SCORE,
  FIELD_NORMALISER,
  FIELD_OUTPUT,
  FIELD_READ,
  FIELD_STEPS,
  FIELD_BRANCHES,
  FIELD_COUNT
};
extern const char *const field_names[FIELD_COUNT + 1]; /* ends with NULL */
bool field_in_branch(enum field field);                /* may stand in a branch too */

/* The fields of a branch; NULL: left out. */
struct draft_branch {
  const struct expr *q, *k, *v, *scale, *score;
  const char *read;
  int nfactors;
  const struct draft_factor *factors[MAX_FACTORS];
  const struct draft_mask *mask;
};

struct draft {
  const char *name, *about;
  size_t name_len;
  const struct expr *steps, *normaliser, *output;
  bool branched; /* has a field `branches` */
  int nbranches;
  struct draft_branch branches[MAX_BRANCHES];
  int line; /* of variant { */
};

const struct variant *variant_check(struct front *f, const struct draft *d);

/* What the parts of the check share. */
struct checker {
  struct front *front;
  const struct draft *draft;
  struct variant *variant;
  int branch; /* being checked, from 1; 0: the variant's own fields */
  int width;  /* of the state's dk in units of dk; 0: dk is 1 */
  int nwarnings;
};
/* Says that a field is wrong; false. */
bool check_failed(struct checker *k, enum field field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* qk only in score, rowsum only in normaliser, o only in output. */
bool check_symbols(struct checker *k, const struct expr *e, enum field field, const char *word);
bool check_transition(struct checker *k, const struct draft_branch *d, struct branch *b);
bool check_mask(struct checker *k, const struct draft_branch *d, struct branch *b);
void check_warnings(struct checker *k);
/* Calls visit for every leaf in the variant, once for each time it is mentioned. */
void variant_each_leaf(const struct variant *v, void (*visit)(void *data, const struct leaf *leaf),
                       void *data);

#endif
