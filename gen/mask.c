/* SPDX-License-Identifier: MIT
 * mask.c - the elementwise mask as a spec builds it: a product of weights.
 */
#include "front.h"

#include <string.h>

const char *weight_name(enum weight_kind kind) {
  static const char *const names[] = {
      "decay", "fenwick", "toeplitz", "bidirectional", "window", "block", "first", "|", "&", "~"};
  return names[kind];
}

static const struct draft_mask *one_weight(struct front *f, const struct weight *w, int terms) {
  struct draft_mask *m = arena_new(f->arena, struct draft_mask);
  struct weight *copy = arena_new(f->arena, struct weight);
  *copy = *w;
  if (!copy->line) copy->line = f->exprs.line;
  *m = (struct draft_mask){1, terms, copy};
  if (terms <= MAX_WEIGHTS) return m;
  diag_error(&f->diag, weight_name(w->kind), "a mask with more than %d terms", MAX_WEIGHTS);
  return NULL;
}

const struct draft_mask *mask_ones(struct front *f) {
  return arena_new(f->arena, struct draft_mask);
}

const struct draft_mask *mask_bidirectional(struct front *f) {
  return one_weight(f, &(struct weight){.kind = WEIGHT_BIDIRECTIONAL}, 1);
}

const struct draft_mask *mask_decay(struct front *f, const struct draft_factor *d) {
  if (d->factor.kind == FACTOR_DELTA) {
    diag_error(&f->diag, "delta", "delta is not an elementwise mask (M[t,s] is one number)");
    diag_note(&f->diag, "it belongs in the transition: transition = { ..., delta(beta) }");
    return NULL;
  }
  if (d->factor.kind == FACTOR_GENERAL) {
    diag_error(&f->diag, factor_word(d),
               "a matrix is not an elementwise mask (M[t,s] is one number)");
    diag_note(&f->diag, "it belongs in the transition");
    return NULL;
  }
  struct weight w = {.kind = WEIGHT_DECAY, .expr = d->factor.diag, .log = d->factor.log};
  w.line = d->factor.line;
  return one_weight(f, &w, 1);
}

const struct draft_mask *mask_fenwick(struct front *f, const struct expr *weight) {
  if (!weight) return NULL;
  if (weight->axis != AXIS_LEVELS || weight->width != 1) {
    diag_error(&f->diag, "fenwick", "fenwick takes one weight a level; %s is %s",
               expr_text(&f->exprs, weight), expr_shape(&f->exprs, weight));
    diag_note(&f->diag, "the levels are an axis: input { \"lambda\", levels }");
    f->diag.before = expr_word(weight);
    return NULL;
  }
  return one_weight(f, &(struct weight){.kind = WEIGHT_FENWICK, .expr = weight}, 1);
}

const struct draft_mask *mask_toeplitz(struct front *f, const struct expr *taps) {
  if (!taps) return NULL;
  if (taps->axis != AXIS_TAPS || taps->width != 1 || taps->token) {
    diag_error(&f->diag, "toeplitz", "toeplitz takes a param over taps; %s is %s%s",
               expr_text(&f->exprs, taps), expr_shape(&f->exprs, taps),
               taps->token ? " that varies with the token" : "");
    diag_note(&f->diag, "M[t,s] = h[t-s] of h = param { \"h\", taps }");
    f->diag.before = expr_word(taps);
    return NULL;
  }
  return one_weight(f, &(struct weight){.kind = WEIGHT_TOEPLITZ, .expr = taps}, 1);
}

const struct draft_mask *mask_sized(struct front *f, enum weight_kind kind,
                                    const struct expr *size) {
  size = front_size(f, weight_name(kind), size);
  return size ? one_weight(f, &(struct weight){.kind = kind, .expr = size}, 1) : NULL;
}

static bool is_yesno(const struct draft_mask *m) {
  return m->n == 1 && m->weights[0].kind >= WEIGHT_WINDOW;
}

const struct draft_mask *mask_logic(struct front *f, enum weight_kind kind,
                                    const struct draft_mask *a, const struct draft_mask *b) {
  if (!is_yesno(a) || (b && !is_yesno(b))) {
    diag_error(&f->diag, weight_name(kind), "'%s' joins yes/no masks, not weights",
               weight_name(kind));
    diag_note(&f->diag, "window(n), block(n) and first(n) are yes/no masks; '*' joins weights");
    return NULL;
  }
  struct weight w = {.kind = kind, .arg = {a->weights, b ? b->weights : NULL}};
  return one_weight(f, &w, a->terms + (b ? b->terms : 0) + 1);
}

const struct draft_mask *mask_product(struct front *f, const struct draft_mask *a,
                                      const struct draft_mask *b) {
  if (a->terms + b->terms > MAX_WEIGHTS) {
    diag_error(&f->diag, "*", "a mask with more than %d terms", MAX_WEIGHTS);
    return NULL;
  }
  struct weight *w = arena_array(f->arena, struct weight, a->n + b->n);
  for (int i = 0; i < a->n; i++) w[i] = a->weights[i];
  for (int i = 0; i < b->n; i++) w[a->n + i] = b->weights[i];
  struct draft_mask *m = arena_new(f->arena, struct draft_mask);
  *m = (struct draft_mask){a->n + b->n, a->terms + b->terms, w};
  return m;
}
