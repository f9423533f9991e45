/* SPDX-License-Identifier: MIT
 * variant_transition.c - the transition of a branch: checks each factor, multiplies v by a delta's
 * rate, and names the whole: which kind of decay, which kind of delta.
 */
#include "front.h"

#include <string.h>

/* Says that a factor is wrong, in the line that built it. */
static bool factor_failed(struct checker *k, const struct draft_factor *d, const char *message,
                          const char *note) {
  struct diag *diag = &k->front->diag;
  const struct factor *f = &d->factor;
  diag_error(diag, factor_word(d), "transition: %s", message);
  diag_note(diag, "%s", note);
  diag->line = f->line ? f->line : k->draft->line;
  diag->before = expr_word(f->diag ? f->diag : f->beta ? f->beta : f->nlow ? f->low[0].b : NULL);
  return false;
}

static bool check_parts(struct checker *k, const struct factor *f) {
  if (f->diag && !check_symbols(k, f->diag, FIELD_TRANSITION, "transition")) return false;
  if (f->beta && !check_symbols(k, f->beta, FIELD_TRANSITION, "transition")) return false;
  for (int i = 0; i < f->nlow; i++)
    if (!check_symbols(k, f->low[i].b, FIELD_TRANSITION, "transition") ||
        !check_symbols(k, f->low[i].a, FIELD_TRANSITION, "transition"))
      return false;
  return true;
}

/* A vector over dk fits the state; width is the state's, 0 where q and k are scalars. */
static bool fits(const struct expr *e, int width) {
  return !e || e->axis != AXIS_DK || e->width == width;
}

static bool check_widths(struct checker *k, const struct draft_factor *d) {
  const struct factor *f = &d->factor;
  bool ok = fits(f->diag, k->width) && (!f->right || f->diag->width == 1);
  for (int i = 0; i < f->nlow; i++)
    ok = ok && fits(f->low[i].b, k->width) && fits(f->low[i].a, k->width);
  if (ok) return true;
  if (f->right)
    return factor_failed(k, d, "this factor is wider than v", "v and o have dv channels");
  if (k->width == 0)
    return factor_failed(k, d, "this factor varies over dk, but q and k are scalars, so dk is 1",
                         "a decay over the channels of v varies over dv");
  return factor_failed(k, d, "this factor and k have different widths", "concat adds widths");
}

static bool check_factor(struct checker *k, const struct draft_factor *d) {
  if (d->bare)
    return factor_failed(k, d, "outer(b, a) alone forgets everything else",
                         "write identity - outer(b, a), or decay(w) - outer(b, a)");
  return check_parts(k, &d->factor) && check_widths(k, d);
}

/* ---- names ---- */

static enum decay_kind decay_of(const struct expr *w) {
  if (!w || w->axis == AXIS_DV) return DECAY_NONE;
  if (w->axis == AXIS_DK) return DECAY_CHANNEL;
  return w->token ? DECAY_SCALAR : DECAY_CONSTANT;
}

/* What the low-rank terms of the transition have in common with the write k v^T. Erase and write
 * share one vector, up to a scalar, when there is one term, its b is k up to a scalar, and no decay
 * over dk turns b before the write. Then S + k u^T does both at once. */
static enum delta_kind delta_of(const struct branch *b) {
  enum delta_kind kind = DELTA_PLAIN;
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (kind != DELTA_PLAIN && decay_of(f->diag) == DECAY_CHANNEL) kind = DELTA_LOWRANK;
    const int terms = f->kind == FACTOR_DELTA ? 1 : f->nlow;
    if (terms == 0) continue;
    if (kind != DELTA_PLAIN || terms > 1)
      kind = DELTA_LOWRANK;
    else if (f->kind == FACTOR_DELTA)
      kind = DELTA_RULE;
    else
      kind = expr_parallel(f->low[0].b, b->k) ? DELTA_FORM : DELTA_LOWRANK;
  }
  return kind;
}

static void classify(struct branch *b) {
  for (int i = 0; i < b->nfactors; i++) {
    const enum decay_kind kind = decay_of(b->factors[i].diag);
    if (kind > b->decay) b->decay = kind;
    if (b->factors[i].right) b->value_decay = true;
  }
  b->delta = delta_of(b);
}

bool check_transition(struct checker *k, const struct draft_branch *d, struct branch *b) {
  struct factor *factors = arena_array(k->front->arena, struct factor, d->nfactors);
  int deltas = 0;
  b->factors = factors;
  b->nfactors = d->nfactors;
  for (int i = 0; i < d->nfactors; i++) {
    if (!check_factor(k, d->factors[i])) return false;
    factors[i] = d->factors[i]->factor;
    if (factors[i].kind != FACTOR_DELTA) continue;
    factors[i].step |= b->k->step; /* k is an input of the factor too: one erasure a step */
    if (deltas++ > 0)
      return factor_failed(k, d->factors[i], "a second delta with the same k",
                           "for several keys a token say steps = n, and inputs over step");
    b->v = expr_binary(&k->front->exprs, OP_MUL, factors[i].beta, b->v);
    if (!b->v) {
      k->front->diag.line = factors[i].line;
      return false;
    }
  }
  classify(b);
  return true;
}
