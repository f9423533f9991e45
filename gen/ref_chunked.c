/* SPDX-License-Identifier: MIT
 * ref_chunked.c - the algorithm of the chunked kernels, for a decay that is one number a token.
 *
 * With b the inclusive sum of the log decays inside a chunk of C tokens:
 *
 *   O = diag(e^b) Q S + (Q K^T masked with e^{b_i - b_j}, i >= j) U
 *   S = e^{b_C} S + (diag(e^{b_C - b}) K)^T U
 *
 * where U is V; or, where the transition erases along k, what is left of V when each token has
 * taken away what is stored already. Such a factor is diag(d) + c k a^T, and
 *
 *   u_i = v_i + c (a^T S e^{b_i} + sum over j < i of (a . k_j) e^{b_i - b_j} u_j)
 *
 * with b_i less log d_i, because d decays what a^T has read.
 *
 * A decay of 0 is a reset. Its log, -inf, cannot enter a difference, so sums start again after it:
 * b_i counts from the last reset, segment_i says which one, and what lies in different segments
 * does not meet. Segment 0 is the one that still sees the state.
 */
#include "expr.h"
#include "ref_internal.h"

#include <math.h>
#include <string.h>

struct chunked {
  int K, V, C; /* C: V, and a column for the normaliser */
  double *S;   /* [K][C] */
  double *U;   /* [chunk][C] */
  double *b;   /* [chunk] */
  int64_t *segment;
  double *read; /* [chunk], b_i less log d_i, which counts from reset */
  int64_t *reset;
  double *q, *k, *v, *y, *low_b, *low_a;
};

/* The factor that erases; NULL: none. */
static const struct factor *low_rank(const struct branch *b) {
  for (int i = 0; i < b->nfactors; i++)
    if (ref_nlow(&b->factors[i]) > 0) return &b->factors[i];
  return NULL;
}

/* Whether what is erased and what is written are along one vector, k. */
static bool erases_along_k(const struct branch *b) {
  int terms = 0;
  bool along = true;
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    terms += ref_nlow(f);
    if (f->nlow > 0) along &= expr_parallel(f->low[0].b, b->k);
  }
  return terms <= 1 && along;
}

static const char *chunked_refuses(const struct variant *v, const struct branch *b) {
  const char *why = ref_state_ops.refuses(v, b);
  if (why) return why;
  if (!b->linear) return "the chunked algorithm needs the score qk";
  if (b->read_before) return "the chunked algorithm reads after the token's own update";
  if (v->steps && v->steps->value > 1) return "the chunked algorithm has no steps";
  if (ref_fenwick(b)) return "the chunked algorithm has no fenwick mask";
  if (ref_has_maximum(v, b)) return "the chunked algorithm has no running maximum";
  if (!erases_along_k(b)) return "the chunked algorithm erases along k only";
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (f->right || (f->log && f->log->axis != AXIS_NONE)) {
      return "the chunked algorithm takes decays that are one number a token";
    }
  }
  return NULL;
}

static void *chunked_create(struct arena *a, const struct ref_eval *ev, const struct branch *b) {
  struct chunked *c = arena_new(a, struct chunked);
  c->K = ref_rows(ev, b);
  c->V = ev->V;
  c->C = ev->V + (ev->variant->normaliser != NULL);
  c->S = ref_doubles(a, c->K, c->C);
  c->U = ref_doubles(a, ev->call->chunk, c->C);
  c->b = ref_doubles(a, ev->call->chunk, 1);
  c->read = ref_doubles(a, ev->call->chunk, 1);
  c->reset = arena_array(a, int64_t, ev->call->chunk);
  c->segment = arena_array(a, int64_t, ev->call->chunk);
  c->q = ref_doubles(a, c->K, 1);
  c->k = ref_doubles(a, c->K, 1);
  c->low_b = ref_doubles(a, c->K, 1);
  c->low_a = ref_doubles(a, c->K, 1);
  c->v = ref_doubles(a, c->C, 1);
  c->y = ref_doubles(a, c->C, 1);
  return c;
}

static void add_multiple(double *restrict y, const double *restrict x, int n, double c) {
  for (int j = 0; j < n; j++) y[j] += c * x[j];
}

static void load_key(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                     int64_t t) {
  ref_vector(ev, b->k, t, 0, c->K, c->k);
  c->v[c->C - 1] = 1;
  ref_vector(ev, b->v, t, 0, c->V, c->v);
}

/* Adds one log decay; one of 0 begins a segment. */
static void add_log(double log, double *sum, int64_t *segment) {
  const bool reset = exp(log) == 0;
  if (reset) ++*segment;
  *sum = reset ? 0 : *sum + log;
}

/* Sums the log decays of tokens first ... first + n - 1. */
static void scan_decay(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                       int64_t first, int n) {
  const struct factor *low = low_rank(b);
  double sum = 0;
  int64_t segment = 0;
  for (int i = 0; i < n; i++) {
    double log = ref_mask_log(ev, b, first + i), own = 0;
    for (int j = 0; j < b->nfactors; j++) {
      const struct factor *f = &b->factors[j];
      if (f->log) *(f == low ? &own : &log) += ref_scalar(ev, f->log, first + i, 0);
    }
    c->read[i] = sum;
    c->reset[i] = segment;
    add_log(log, &c->read[i], &c->reset[i]);
    add_log(log + own, &sum, &segment);
    c->b[i] = sum;
    c->segment[i] = segment;
  }
}

static double dot(const double *x, const double *y, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

/* y += x^T S, S decayed, as token i of the chunk finds it after the writes of the tokens before. */
static void read_state(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                       int64_t first, int i, double gain, const double *x, double *y) {
  for (int r = 0; c->reset[i] == 0 && r < c->K; r++)
    add_multiple(y, c->S + (int64_t)r * c->C, c->C, gain * exp(c->read[i]) * x[r]);
  for (int j = 0; j < i; j++) {
    if (c->segment[j] != c->reset[i]) continue;
    ref_vector(ev, b->k, first + j, 0, c->K, c->k);
    const double weight = gain * dot(x, c->k, c->K) * exp(c->read[i] - c->b[j]);
    add_multiple(y, c->U + (int64_t)j * c->C, c->C, weight);
  }
}

/* U: what each token adds to the state along its k. */
static void solve(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                  int64_t first, int n) {
  const struct factor *low = low_rank(b);
  for (int i = 0; i < n; i++) {
    double *u = c->U + (int64_t)i * c->C;
    load_key(c, ev, b, first + i);
    memcpy(u, c->v, sizeof(double) * (size_t)c->C);
    const double square = dot(c->k, c->k, c->K);
    if (!low || square == 0) continue;
    ref_low(ev, b, low, 0, first + i, 0, c->K, c->low_b, c->low_a);
    const double along = dot(c->low_b, c->k, c->K) / square; /* c of c k = b */
    read_state(c, ev, b, first, i, along, c->low_a, u);
  }
}

/* y = e^{b_i} q^T S + sum over j <= i of e^{b_i - b_j} (q . k_j) u_j */
static void read_row(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                     int64_t first, int i) {
  const double scale = ref_scalar(ev, b->scale, 0, 0);
  ref_vector(ev, b->q, first + i, 0, c->K, c->q);
  memset(c->y, 0, sizeof(double) * (size_t)c->C);
  for (int r = 0; c->segment[i] == 0 && r < c->K; r++) {
    add_multiple(c->y, c->S + (int64_t)r * c->C, c->C, scale * exp(c->b[i]) * c->q[r]);
  }
  for (int j = 0; j <= i; j++) {
    if (c->segment[j] != c->segment[i]) continue;
    ref_vector(ev, b->k, first + j, 0, c->K, c->k);
    const double weight = scale * dot(c->q, c->k, c->K) * exp(c->b[i] - c->b[j]);
    add_multiple(c->y, c->U + (int64_t)j * c->C, c->C, weight);
  }
}

/* S = e^{b_last} S + sum of e^{b_last - b_j} k_j u_j^T */
static void advance_state(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                          int64_t first, int n) {
  const int last = n - 1;
  const double w = c->segment[last] == 0 ? exp(c->b[last]) : 0;
  for (int64_t i = 0; i < (int64_t)c->K * c->C; i++) c->S[i] = w == 0 ? 0 : w * c->S[i];
  for (int j = 0; j < n; j++) {
    if (c->segment[j] != c->segment[last]) continue;
    ref_vector(ev, b->k, first + j, 0, c->K, c->k);
    const double gain = exp(c->b[last] - c->b[j]);
    for (int r = 0; r < c->K; r++) {
      add_multiple(c->S + (int64_t)r * c->C, c->U + (int64_t)j * c->C, c->C, gain * c->k[r]);
    }
  }
}

static void chunked_run(void *scratch, struct ref_eval *ev, const struct branch *b,
                        const struct ref_head *head) {
  struct chunked *c = scratch;
  const int64_t T = ev->call->T, chunk = ev->call->chunk;
  ref_load_state(head, c->K, c->V, c->C, c->S);
  for (int64_t first = 0; first < T; first += chunk) {
    const int n = (int)(T - first < chunk ? T - first : chunk);
    scan_decay(c, ev, b, first, n);
    solve(c, ev, b, first, n);
    for (int i = 0; i < n; i++) {
      read_row(c, ev, b, first, i);
      double *y = head->y + (first + i) * c->V;
      for (int j = 0; j < c->V; j++) y[j] += c->y[j];
      if (c->C > c->V) head->n[first + i] += c->y[c->V];
    }
    advance_state(c, ev, b, first, n);
  }
  if (head->ht) ref_store_state(head, c->K, c->V, c->C, c->S);
}

const struct ref_engine_ops ref_chunked_ops = {"chunked", chunked_refuses, chunked_create,
                                               chunked_run};
