/* SPDX-License-Identifier: MIT
 * ref_cache.c - token by token with a list of keys and values, for any score and any mask.
 *
 *   at token t:  k_s <- D_t k_s and v_s <- v_s diag(w_t) for all s < t;  append k_t, v_t
 *                y_t = sum_s f(scale * q_t . k_s) M[t,s] v_s     (bidirectional: once all are
 * there)
 *
 * The transitions act on the keys here, and on the query in ref_dense.c.
 */
#include "ref_internal.h"

#include <math.h>

struct cache {
  int K, V;
  int64_t n; /* entries so far: token t, step j is entry t * steps + j */
  double *k; /* [T*steps][K] */
  double *v; /* [T*steps][V] */
  double *A; /* [T*steps] */
  double *M; /* [1+T] */
  double *q;
  double *diag, *next; /* [K] */
  double *b, *a;       /* [nlow][K] */
  double *right;       /* [V] */
};

static const char *cache_refuses(const struct variant *v, const struct branch *b) {
  (void)v, (void)b;
  return NULL;
}

static void *cache_create(struct arena *a, const struct ref_eval *ev, const struct branch *b) {
  struct cache *c = arena_new(a, struct cache);
  const int64_t pairs = ev->call->T * ev->steps;
  int most = 1;
  for (int i = 0; i < b->nfactors; i++) {
    const int nlow = ref_nlow(&b->factors[i]);
    if (nlow > most) most = nlow;
  }
  c->K = ref_rows(ev, b);
  c->V = ev->V;
  c->k = ref_doubles(a, pairs, c->K);
  c->v = ref_doubles(a, pairs, c->V);
  c->A = ref_doubles(a, pairs, 1);
  c->M = ref_doubles(a, 1 + ev->call->T, 1);
  c->q = ref_doubles(a, c->K, 1);
  c->diag = ref_doubles(a, c->K, 1);
  c->next = ref_doubles(a, c->K, 1);
  c->b = ref_doubles(a, most, c->K);
  c->a = ref_doubles(a, most, c->K);
  c->right = ref_doubles(a, c->V, 1);
  return c;
}

/* 0 times what was forgotten is 0, also where that is inf or NaN. */
static double product(double w, double x) {
  return w == 0 ? 0 : w * x;
}

/* k <- (diag(w) + sum of b a^T) k, for one entry */
static void transform_key(struct cache *c, double *k, int nlow) {
  for (int i = 0; i < c->K; i++) c->next[i] = product(c->diag[i], k[i]);
  for (int l = 0; l < nlow; l++) {
    double u = 0;
    for (int i = 0; i < c->K; i++) u += product(k[i], c->a[l * c->K + i]);
    for (int i = 0; i < c->K; i++) c->next[i] += c->b[l * c->K + i] * u;
  }
  for (int i = 0; i < c->K; i++) k[i] = c->next[i];
}

static void apply_left(struct cache *c, const struct ref_eval *ev, const struct branch *br,
                       const struct factor *f, int64_t t, int step) {
  const int nlow = ref_nlow(f);
  for (int i = 0; i < c->K; i++) c->diag[i] = 0;
  if (f->log) ref_vector(ev, f->log, t, step, c->K, c->diag);
  for (int i = 0; i < c->K; i++) c->diag[i] = exp(c->diag[i]);
  for (int l = 0; l < nlow; l++) {
    ref_low(ev, br, f, l, t, step, c->K, c->b + l * c->K, c->a + l * c->K);
  }
  for (int64_t u = 0; u < c->n; u++) transform_key(c, c->k + u * c->K, nlow);
}

static void apply_right(struct cache *c, const struct ref_eval *ev, const struct factor *f,
                        int64_t t, int step) {
  ref_vector(ev, f->log, t, step, c->V, c->right);
  for (int64_t u = 0; u < c->n; u++) {
    double *v = c->v + u * c->V;
    for (int j = 0; j < c->V; j++) v[j] = product(exp(c->right[j]), v[j]);
  }
}

static void advance(struct cache *c, const struct ref_eval *ev, const struct branch *b, int64_t t,
                    int step) {
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (!ref_acts(f, step)) continue;
    if (f->right)
      apply_right(c, ev, f, t, step);
    else
      apply_left(c, ev, b, f, t, step);
  }
  ref_vector(ev, b->k, t, step, c->K, c->k + c->n * c->K);
  ref_vector(ev, b->v, t, step, c->V, c->v + c->n * c->V);
  c->n++;
}

static void read_row(struct cache *c, struct ref_eval *ev, const struct branch *b,
                     const struct ref_head *head, int64_t t) {
  const double scale = ref_scalar(ev, b->scale, 0, 0);
  double *y = head->y + t * c->V;
  if (c->n == 0) return;
  ref_vector(ev, b->q, t, 0, c->K, c->q);
  for (int64_t u = 0; u < c->n; u++) {
    c->A[u] = 0;
    for (int i = 0; i < c->K; i++) c->A[u] += scale * c->q[i] * c->k[u * c->K + i];
  }
  ref_eval_late(ev, &ev->score[b - ev->variant->branches], REF_LATE_QK,
                (struct ref_binding){c->A, c->n, 1});
  ref_mask_row(ev, b, t, c->M);
  for (int64_t u = 0; u < c->n; u++) {
    const double m = c->M[1 + u / ev->steps];
    const double w = product(m, ref_at(ref_value(ev, b->score), u, 0)[0]);
    for (int j = 0; j < c->V; j++) y[j] += product(w, c->v[u * c->V + j]);
    head->n[t] += w;
  }
}

static void cache_run(void *scratch, struct ref_eval *ev, const struct branch *b,
                      const struct ref_head *head) {
  struct cache *c = scratch;
  const bool before = b->causal && b->read_before, after = b->causal && !b->read_before;
  c->n = 0;
  for (int64_t t = 0; t < ev->call->T; t++) {
    if (before) read_row(c, ev, b, head, t);
    for (int step = 0; step < ev->steps; step++) advance(c, ev, b, t, step);
    if (after) read_row(c, ev, b, head, t);
  }
  for (int64_t t = 0; !b->causal && t < ev->call->T; t++) read_row(c, ev, b, head, t);
}

const struct ref_engine_ops ref_cache_ops = {"cache", cache_refuses, cache_create, cache_run};
