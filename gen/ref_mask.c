/* SPDX-License-Identifier: MIT
 * ref_mask.c - the mask M by its definition, one number for a pair of tokens.
 */
#include "ref_internal.h"

#include <math.h>

int ref_bit_length(int64_t x) {
  int n = 0;
  for (; x > 0; x >>= 1) n++;
  return n;
}

/* Exponents are summed from t downwards, so that -inf never meets -inf with a minus sign. */
static void decay_row(const struct ref_eval *ev, const struct weight *w, int64_t t, double *M) {
  double log = 0;
  for (int64_t s = ev->call->T - 1; s >= -1; s--) {
    if (s < t) log += ref_scalar(ev, w->log, s + 1, 0);
    M[1 + s] *= exp(log);
  }
}

static bool admits(const struct weight *w, int64_t t, int64_t s) {
  const int64_t size = w->expr ? (int64_t)w->expr->value : 1;
  switch (w->kind) {
  case WEIGHT_WINDOW: return t - s < size;
  case WEIGHT_BLOCK: return t / size == s / size;
  case WEIGHT_FIRST: return s < size;
  case WEIGHT_OR: return admits(w->arg[0], t, s) || admits(w->arg[1], t, s);
  case WEIGHT_AND: return admits(w->arg[0], t, s) && admits(w->arg[1], t, s);
  case WEIGHT_NOT: return !admits(w->arg[0], t, s);
  default: return true;
  }
}

static double weight_at(const struct ref_eval *ev, const struct weight *w, int64_t t, int64_t s) {
  const struct ref_value *x = w->expr ? ref_value(ev, w->expr) : NULL;
  switch (w->kind) {
  case WEIGHT_FENWICK: return ref_at(x, t, 0)[ref_bit_length(t ^ s)];
  case WEIGHT_TOEPLITZ: return t >= s && t - s < x->width ? ref_at(x, t, 0)[t - s] : 0;
  default: return admits(w, t, s);
  }
}

void ref_mask_row(const struct ref_eval *ev, const struct branch *b, int64_t t, double *M) {
  for (int64_t s = -1; s < ev->call->T; s++) M[1 + s] = 1;
  for (int i = 0; i < b->nweights; i++) {
    const struct weight *w = &b->weights[i];
    if (w->kind == WEIGHT_DECAY) {
      decay_row(ev, w, t, M);
      continue;
    }
    for (int64_t s = 0; s < ev->call->T; s++) M[1 + s] *= weight_at(ev, w, t, s);
  }
}

const struct weight *ref_fenwick(const struct branch *b) {
  for (int i = 0; i < b->nweights; i++) {
    if (b->weights[i].kind == WEIGHT_FENWICK) return &b->weights[i];
  }
  return NULL;
}

double ref_mask_log(const struct ref_eval *ev, const struct branch *b, int64_t t) {
  double log = 0;
  for (int i = 0; i < b->nweights; i++) {
    if (b->weights[i].kind == WEIGHT_DECAY) log += ref_scalar(ev, b->weights[i].log, t, 0);
  }
  return log;
}
