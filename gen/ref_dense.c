/* SPDX-License-Identifier: MIT
 * ref_dense.c - the definition: one weight for each pair of tokens.
 *
 *   A[t,s] = scale * q_t^T D_t ... D_{s+1} k_s      y_t = sum_s f(A[t,s]) M[t,s] v_s
 *
 * Each D_t is built as an explicit matrix, the product of its factors, and q_t^T is carried through
 * them from t down to s. A pair is (token s, step j), numbered u = s * steps + j. O(T^2 K^2): for
 * small T.
 */
#include "ref_internal.h"

#include <math.h>
#include <string.h>

struct dense {
  int K, V;
  double *D;     /* [T*steps][K][K] */
  double *right; /* [T*steps][V]: decay over dv; NULL: none */
  double *product, *b, *a;
  double *p, *p_next; /* [K] q_t^T D_t ... D_{s+1} */
  double *r;          /* [V] the same for the decays over dv */
  double *A;          /* [T*steps] the scores of a row in the order they are visited */
  double *M;          /* [1+T] a row of the mask; [0] is for h0, the token before the first */
  double *x;          /* [K or V] one vector */
};

static const char *dense_refuses(const struct variant *v, const struct branch *b) {
  (void)v, (void)b;
  return NULL;
}

static void *dense_create(struct arena *a, const struct ref_eval *ev, const struct branch *b) {
  struct dense *d = arena_new(a, struct dense);
  const int64_t T = ev->call->T, pairs = T * ev->steps;
  const int K = ref_rows(ev, b), V = ev->V;
  d->K = K;
  d->V = V;
  d->D = ref_doubles(a, pairs, (int64_t)K * K);
  for (int i = 0; i < b->nfactors; i++) {
    if (b->factors[i].right && !d->right) d->right = ref_doubles(a, pairs, V);
  }
  d->product = ref_doubles(a, K, K);
  d->b = ref_doubles(a, K, 1);
  d->a = ref_doubles(a, K, 1);
  d->p = ref_doubles(a, K, 1);
  d->p_next = ref_doubles(a, K, 1);
  d->r = ref_doubles(a, V, 1);
  d->A = ref_doubles(a, pairs, 1);
  d->M = ref_doubles(a, 1 + T, 1);
  d->x = ref_doubles(a, K > V ? K : V, 1);
  return d;
}

/* ---- transitions ---- */

/* product = F D, then D = product; F = diag(w) + sum of b a^T. */
static void multiply_factor(struct dense *d, const struct ref_eval *ev, const struct branch *br,
                            const struct factor *f, int64_t t, int step, double *D) {
  const int K = d->K;
  for (int i = 0; i < K; i++) d->x[i] = 0;
  if (f->log) ref_vector(ev, f->log, t, step, K, d->x);
  for (int i = 0; i < K; i++) {
    const double w = exp(d->x[i]);
    for (int j = 0; j < K; j++) d->product[i * K + j] = w * D[i * K + j];
  }
  for (int l = 0; l < ref_nlow(f); l++) {
    ref_low(ev, br, f, l, t, step, K, d->b, d->a);
    for (int j = 0; j < K; j++) {
      double u = 0;
      for (int i = 0; i < K; i++) u += d->a[i] * D[i * K + j];
      for (int i = 0; i < K; i++) d->product[i * K + j] += d->b[i] * u;
    }
  }
  memcpy(D, d->product, sizeof *D * (size_t)K * (size_t)K);
}

static void multiply_right(struct dense *d, const struct ref_eval *ev, const struct factor *f,
                           int64_t t, int step, double *right) {
  ref_vector(ev, f->log, t, step, d->V, d->x);
  for (int i = 0; i < d->V; i++) right[i] *= exp(d->x[i]);
}

static void transition(struct dense *d, const struct ref_eval *ev, const struct branch *b,
                       int64_t t, int step) {
  const int64_t u = t * ev->steps + step;
  double *D = d->D + u * d->K * d->K;
  double *right = d->right ? d->right + u * d->V : NULL;
  for (int i = 0; i < d->K * d->K; i++) D[i] = i % (d->K + 1) == 0;
  for (int i = 0; right && i < d->V; i++) right[i] = 1;
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (!ref_acts(f, step)) continue;
    if (f->right)
      multiply_right(d, ev, f, t, step, right);
    else
      multiply_factor(d, ev, b, f, t, step, D);
  }
}

/* p^T <- p^T D_u */
static void carry(struct dense *d, int64_t u) {
  const int K = d->K;
  const double *D = d->D + u * K * K;
  for (int j = 0; j < K; j++) d->p_next[j] = 0;
  for (int i = 0; i < K; i++) {
    for (int j = 0; j < K; j++) d->p_next[j] += d->p[i] * D[i * K + j];
  }
  double *old = d->p;
  d->p = d->p_next;
  d->p_next = old;
}

static void carry_right(struct dense *d, int64_t u) {
  for (int i = 0; d->right && i < d->V; i++) d->r[i] *= d->right[u * d->V + i];
}

/* ---- a row ---- */

/* p . x; what a decay of 0 has forgotten may be inf or NaN, and is left out. */
static double seen(const double *p, const double *x, int n) {
  double s = 0;
  for (int i = 0; i < n; i++) s += p[i] == 0 ? 0 : p[i] * x[i];
  return s;
}

/* The pairs that row t sees, last first where there is an order. */
static int64_t pairs_of(const struct ref_eval *ev, const struct branch *b, int64_t t) {
  if (!b->causal) return ev->call->T * ev->steps;
  return (b->read_before ? t : t + 1) * ev->steps;
}

/* A of every pair of row t; leaves q_t^T D_t ... D_0 in p. */
static void scores(struct dense *d, struct ref_eval *ev, const struct branch *b, int64_t t,
                   int64_t n) {
  const double scale = ref_scalar(ev, b->scale, 0, 0);
  ref_vector(ev, b->q, t, 0, d->K, d->p);
  for (int64_t i = 0; i < n; i++) {
    const int64_t u = n - 1 - i;
    ref_vector(ev, b->k, u / ev->steps, (int)(u % ev->steps), d->K, d->x);
    d->A[i] = scale * seen(d->p, d->x, d->K);
    if (b->causal) carry(d, u);
  }
  const struct ref_program *f = &ev->score[b - ev->variant->branches];
  if (n > 0) ref_eval_late(ev, f, REF_LATE_QK, (struct ref_binding){d->A, n, 1});
}

/* y_t += scale p^T h0, decayed by everything since; of the row sum the same with n0. */
static void read_h0(struct dense *d, const struct ref_eval *ev, const struct branch *b,
                    const struct ref_head *head, int64_t t) {
  double *y = head->y + t * d->V;
  const double scale = ref_scalar(ev, b->scale, 0, 0);
  if (d->M[0] == 0) return;
  for (int i = 0; i < d->K; i++) {
    const double w = scale * d->M[0] * d->p[i];
    for (int j = 0; j < d->V; j++) y[j] += head->h0 ? w * head->h0[i * d->V + j] * d->r[j] : 0;
    head->n[t] += head->n0 ? w * head->n0[i] : 0;
  }
}

static void add_pair(struct dense *d, const struct ref_eval *ev, const struct branch *b, int64_t u,
                     double weight, double *y) {
  ref_vector(ev, b->v, u / ev->steps, (int)(u % ev->steps), d->V, d->x);
  for (int j = 0; j < d->V; j++) y[j] += weight * d->r[j] * d->x[j];
}

static void row(struct dense *d, struct ref_eval *ev, const struct branch *b,
                const struct ref_head *head, int64_t t) {
  const int64_t n = pairs_of(ev, b, t);
  double *y = head->y + t * d->V;
  scores(d, ev, b, t, n);
  ref_mask_row(ev, b, t, d->M);
  for (int i = 0; i < d->V; i++) d->r[i] = 1;
  for (int64_t i = 0; i < n; i++) {
    const int64_t u = n - 1 - i, s = u / ev->steps;
    const double f = ref_at(ref_value(ev, b->score), i, 0)[0];
    if (d->M[1 + s] != 0 && f != 0) add_pair(d, ev, b, u, d->M[1 + s] * f, y);
    if (d->M[1 + s] != 0) head->n[t] += d->M[1 + s] * f;
    if (b->causal) carry_right(d, u);
  }
  if (head->h0 || head->n0) read_h0(d, ev, b, head, t);
}

static void dense_run(void *scratch, struct ref_eval *ev, const struct branch *b,
                      const struct ref_head *head) {
  struct dense *d = scratch;
  for (int64_t t = 0; t < ev->call->T; t++) {
    for (int step = 0; step < ev->steps; step++) transition(d, ev, b, t, step);
  }
  for (int64_t t = 0; t < ev->call->T; t++) row(d, ev, b, head, t);
}

const struct ref_engine_ops ref_dense_ops = {"dense", dense_refuses, dense_create, dense_run};
