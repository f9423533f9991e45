/* SPDX-License-Identifier: MIT
 * variant_mask.c - the mask of a branch: what an elementwise mask may hold, and what goes together.
 */
#include "front.h"

static bool weight_failed(struct checker *k, const struct weight *w, const char *message,
                          const char *note) {
  struct diag *d = &k->front->diag;
  diag_error(d, weight_name(w->kind), "mask: %s", message);
  diag_note(d, "%s", note);
  d->line = w->line ? w->line : k->draft->line;
  d->before = expr_word(w->expr);
  return false;
}

static bool check_weight(struct checker *k, const struct weight *w) {
  if (w->expr && !check_symbols(k, w->expr, FIELD_MASK, "mask")) return false;
  if (w->expr && w->expr->step)
    return weight_failed(k, w, "a mask has one weight a pair of tokens, and no step",
                         "a decay that varies over step belongs in the transition");
  if (w->kind == WEIGHT_DECAY && w->expr->axis)
    return weight_failed(k, w,
                         w->expr->axis == AXIS_DK
                             ? "a decay over dk is not an elementwise mask (M[t,s] is one number)"
                             : "a decay over dv is not an elementwise mask (M[t,s] is one number)",
                         "it belongs in the transition: transition = { decay(...) }");
  return true;
}

/* The name of a part of w that needs an order of the tokens; NULL: there is none. */
static const char *ordered_part(const struct weight *w) {
  if (w->kind == WEIGHT_DECAY || w->kind == WEIGHT_FENWICK || w->kind == WEIGHT_TOEPLITZ ||
      w->kind == WEIGHT_WINDOW)
    return weight_name(w->kind);
  const char *name = w->arg[0] ? ordered_part(w->arg[0]) : NULL;
  return name || !w->arg[1] ? name : ordered_part(w->arg[1]);
}

/* Without an order there is nothing to carry along. */
static bool check_bidirectional(struct checker *k, const struct branch *b) {
  const char *clash = NULL;
  if (b->nfactors > 0) clash = "transition";
  if (b->read_before) clash = "read = \"before\"";
  for (int i = 0; i < b->nweights && !clash; i++) clash = ordered_part(&b->weights[i]);
  if (!clash) return true;
  check_failed(k, FIELD_MASK, "bidirectional has no order, so it does not go with %s", clash);
  diag_note(&k->front->diag, "it goes with scores, normalisers, block and first");
  return false;
}

/* A scalar decay in the mask of a linear score is the same as one in the transition, unless the
 * state is read before the token's own update. */
static void merge_decays(struct branch *b) {
  if (!b->linear || b->read_before) return;
  for (int i = 0; i < b->nweights; i++) {
    const struct weight *w = &b->weights[i];
    if (w->kind != WEIGHT_DECAY) continue;
    const enum decay_kind kind = w->expr->token ? DECAY_SCALAR : DECAY_CONSTANT;
    if (kind > b->decay) b->decay = kind;
  }
}

bool check_mask(struct checker *k, const struct draft_branch *d, struct branch *b) {
  b->causal = true;
  b->nweights = d->mask ? d->mask->n : 0;
  b->weights = d->mask ? d->mask->weights : NULL;
  for (int i = 0; i < b->nweights; i++) {
    const struct weight *w = &b->weights[i];
    if (!check_weight(k, w)) return false;
    if (w->kind == WEIGHT_BIDIRECTIONAL) b->causal = false;
    if (w->kind != WEIGHT_FENWICK) continue;
    if (b->fenwick)
      return weight_failed(k, w, "two fenwick factors",
                           "the levels are the same, so multiply the weights: fenwick(a * b)");
    b->fenwick = true;
  }
  if (!b->causal && !check_bidirectional(k, b)) return false;
  merge_decays(b);
  return true;
}
