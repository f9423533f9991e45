/* SPDX-License-Identifier: MIT
 * factor.c - the factors of a transition as a spec builds them: diag(w) + sum of b a^T.
 */
#include "front.h"

#include <math.h>
#include <string.h>

static struct draft_factor *new_factor(struct front *f, enum factor_kind kind) {
  struct draft_factor *d = arena_new(f->arena, struct draft_factor);
  d->factor.kind = kind;
  d->factor.line = f->exprs.line;
  return d;
}

const char *factor_word(const struct draft_factor *d) {
  if (d->bare) return "outer";
  if (d->factor.kind == FACTOR_DELTA) return "delta";
  return d->factor.diag ? "decay" : "identity";
}

/* ---- decay ---- */

static const struct draft_factor *decay_failed(struct front *f, const struct expr *w) {
  f->diag.before = expr_word(w);
  return NULL;
}

/* How to say that exp(x) is at most 1. */
static void note_exponent(struct front *f, const struct expr *x) {
  if (x->leaf && x->leaf->max == INFINITY)
    diag_note(&f->diag, "if the gate is never positive say %s",
              leaf_text(f->arena, x->leaf, ", max = 0"));
  else
    diag_note(&f->diag, "exp(x) is at most 1 where x is at most 0; is a minus missing?");
}

static const struct draft_factor *decay_too_large(struct front *f, const struct expr *w) {
  diag_error(&f->diag, "decay", "decay takes a factor in [0,1]; %s may exceed 1",
             expr_text(&f->exprs, w));
  if (w->op == OP_EXP)
    note_exponent(f, w->arg[0]);
  else if (w->leaf)
    diag_note(&f->diag, "if it never does say %s",
              leaf_text(f->arena, w->leaf, ", min = 0, max = 1"));
  else
    diag_note(&f->diag, "where it cannot be proved, clamp it: min(1, ...)");
  return decay_failed(f, w);
}

static const struct draft_factor *decay_negative(struct front *f, const struct expr *w) {
  const char *text = expr_text(&f->exprs, w);
  diag_error(&f->diag, "decay", "decay takes the factor itself, in [0,1]; %s may be negative",
             text);
  if (w->leaf)
    diag_note(&f->diag, "a log gate is decay(exp(%s)), with max = 0; a factor says %s",
              w->leaf->name, leaf_text(f->arena, w->leaf, ", min = 0, max = 1"));
  else
    diag_note(&f->diag,
              "a log gate is decay(exp(...)); a factor can be clamped: max(0, min(1, ...))");
  return decay_failed(f, w);
}

/* The node where a value stops being a number. */
static const struct expr *first_nan(const struct expr *e) {
  for (int i = 0; i < 2; i++)
    if (e->arg[i] && e->arg[i]->nan) return first_nan(e->arg[i]);
  return e;
}

static const struct draft_factor *decay_nan(struct front *f, const struct expr *w) {
  diag_error(&f->diag, "decay", "decay takes a factor in [0,1]; %s may be no number at all",
             expr_text(&f->exprs, first_nan(w)));
  diag_note(&f->diag, "roots and logarithms want what is not negative, quotients a divisor that is "
                      "not 0: give the input a min, or clamp it with max");
  return decay_failed(f, w);
}

const struct draft_factor *factor_decay(struct front *f, const struct expr *w) {
  if (!w) return NULL;
  if (w->axis == AXIS_LEVELS || w->axis == AXIS_TAPS) {
    diag_error(&f->diag, "decay",
               "decay: %s varies over %s; a decay is a scalar, or varies over dk or dv",
               expr_text(&f->exprs, w), axis_name(w->axis));
    return decay_failed(f, w);
  }
  if (w->nan) return decay_nan(f, w);
  if (!(w->lo >= 0)) return decay_negative(f, w);
  if (!(w->hi <= 1)) return decay_too_large(f, w);
  if (w->op == OP_CONST && w->value == 0) {
    diag_error(&f->diag, "decay", "decay(0) forgets every earlier token");
    diag_note(&f->diag, "mask = window(1) says that");
    return NULL;
  }
  struct draft_factor *d = new_factor(f, FACTOR_DECAY);
  d->factor.diag = w;
  d->factor.log = expr_log(&f->exprs, w);
  d->factor.right = w->axis == AXIS_DV;
  d->factor.step = w->step;
  return d->factor.log ? d : NULL;
}

/* ---- the others ---- */

const struct draft_factor *factor_delta(struct front *f, const struct expr *beta) {
  if (!beta) return NULL;
  if (beta->axis) {
    diag_error(&f->diag, "delta", "delta(beta): the rate is a scalar a token; %s is %s",
               expr_text(&f->exprs, beta), expr_shape(&f->exprs, beta));
    diag_note(&f->diag, "to erase channel by channel write identity - outer(k, beta * k)");
    f->diag.before = expr_word(beta);
    return NULL;
  }
  struct draft_factor *d = new_factor(f, FACTOR_DELTA);
  d->factor.beta = beta;
  d->factor.step = beta->step;
  return d;
}

const struct draft_factor *factor_outer(struct front *f, const struct expr *b,
                                        const struct expr *a) {
  if (!a || !b) return NULL;
  if (b->axis != AXIS_DK || a->axis != AXIS_DK) {
    diag_error(&f->diag, "outer",
               "outer(b, a) is the dk x dk matrix b a^T; here %s is %s and %s is %s",
               expr_text(&f->exprs, b), expr_shape(&f->exprs, b), expr_text(&f->exprs, a),
               expr_shape(&f->exprs, a));
    f->diag.before = expr_word(b);
    return NULL;
  }
  struct draft_factor *d = new_factor(f, FACTOR_GENERAL);
  struct lowrank *low = arena_new(f->arena, struct lowrank);
  *low = (struct lowrank){b, a};
  d->factor.low = low;
  d->factor.nlow = 1;
  d->factor.step = a->step || b->step;
  d->bare = true;
  return d;
}

const struct draft_factor *factor_identity(struct front *f) {
  return new_factor(f, FACTOR_GENERAL);
}

static bool addable(struct front *f, const struct draft_factor *a, const struct draft_factor *b) {
  if (a->factor.kind == FACTOR_DELTA || b->factor.kind == FACTOR_DELTA) {
    diag_error(&f->diag, "delta", "delta(beta) is a factor of its own and is not added to another");
    diag_note(&f->diag, "list it: { decay(a), delta(b) }");
  } else if (!b->bare) {
    diag_error(&f->diag, factor_word(b), "a factor has one diagonal part, and it is written first");
    diag_note(&f->diag, "decay(w) - outer(b, a), or identity - outer(b, a)");
  } else if (a->factor.right) {
    diag_error(&f->diag, "decay", "a decay over dv cannot be added to outer, which acts on dk");
    diag_note(&f->diag, "list them: { decay(w), identity - outer(b, a) }");
  } else if (a->factor.nlow + b->factor.nlow > MAX_LOWRANK) {
    diag_error(&f->diag, "outer", "a factor with more than %d terms", MAX_LOWRANK);
  }
  return !f->diag.message;
}

const struct draft_factor *factor_add(struct front *f, const struct draft_factor *a,
                                      const struct draft_factor *b, bool minus) {
  if (!addable(f, a, b)) return NULL;
  const int na = a->factor.nlow, nb = b->factor.nlow;
  struct lowrank *low = arena_array(f->arena, struct lowrank, na + nb);
  for (int i = 0; i < na; i++) low[i] = a->factor.low[i];
  for (int i = 0; i < nb; i++) {
    low[na + i] = b->factor.low[i];
    if (minus) low[na + i].b = expr_unary(&f->exprs, OP_NEG, low[na + i].b);
    if (!low[na + i].b) return NULL;
  }
  struct draft_factor *d = new_factor(f, FACTOR_GENERAL);
  d->factor = a->factor;
  d->factor.kind = FACTOR_GENERAL;
  d->factor.line = f->exprs.line;
  d->factor.low = low;
  d->factor.nlow = na + nb;
  d->factor.step = a->factor.step || b->factor.step;
  d->bare = a->bare;
  return d;
}
