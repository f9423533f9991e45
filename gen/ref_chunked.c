/* SPDX-License-Identifier: MIT
 * ref_chunked.c - the algorithm of the chunked kernels, for a decay that is one number a token.
 *
 * With b the inclusive sum of the log decays inside a chunk of C tokens:
 *
 *   O = diag(e^b) Q S + (Q K^T masked with e^{b_i - b_j}, i >= j) V
 *   S = e^{b_C} S + (diag(e^{b_C - b}) K)^T V
 *
 * A decay of 0 is a reset. Its log, -inf, cannot enter a difference, so sums start again after it:
 * b_i counts from the last reset, segment_i says which one, and what lies in different segments
 * does not meet. Segment 0 is the one that still sees the state.
 */
#include "ref_internal.h"

#include <math.h>
#include <string.h>

struct chunked {
  int K, V, C; /* C: V, and a column for the normaliser */
  double *S;   /* [K][C] */
  double *b;   /* [chunk] */
  int64_t *segment;
  double *q, *k, *v, *y;
};

static const char *chunked_refuses(const struct variant *v, const struct branch *b) {
  const char *why = ref_state_ops.refuses(v, b);
  if (why) return why;
  if (!b->linear) return "the chunked algorithm needs the score qk";
  if (b->read_before) return "the chunked algorithm reads after the token's own update";
  if (v->steps && v->steps->value > 1) return "the chunked algorithm has no steps";
  if (ref_fenwick(b)) return "the chunked algorithm has no fenwick mask";
  if (ref_has_maximum(v, b)) return "the chunked algorithm has no running maximum";
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (f->right || ref_nlow(f) > 0 || (f->log && f->log->axis != AXIS_NONE)) {
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
  c->b = ref_doubles(a, ev->call->chunk, 1);
  c->segment = arena_array(a, int64_t, ev->call->chunk);
  c->q = ref_doubles(a, c->K, 1);
  c->k = ref_doubles(a, c->K, 1);
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

/* Sums the log decays of tokens first ... first + n - 1. */
static void scan_decay(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                       int64_t first, int n) {
  double sum = 0;
  int64_t segment = 0;
  for (int i = 0; i < n; i++) {
    double log = ref_mask_log(ev, b, first + i);
    for (int j = 0; j < b->nfactors; j++) {
      if (b->factors[j].log) log += ref_scalar(ev, b->factors[j].log, first + i, 0);
    }
    const bool reset = exp(log) == 0;
    if (reset) segment++;
    sum = reset ? 0 : sum + log;
    c->b[i] = sum;
    c->segment[i] = segment;
  }
}

/* y = e^{b_i} q^T S + sum over j <= i of e^{b_i - b_j} (q . k_j) v_j */
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
    load_key(c, ev, b, first + j);
    double qk = 0;
    for (int r = 0; r < c->K; r++) qk += c->q[r] * c->k[r];
    add_multiple(c->y, c->v, c->C, scale * qk * exp(c->b[i] - c->b[j]));
  }
}

/* S = e^{b_last} S + sum of e^{b_last - b_j} k_j v_j^T */
static void advance_state(struct chunked *c, const struct ref_eval *ev, const struct branch *b,
                          int64_t first, int n) {
  const int last = n - 1;
  const double w = c->segment[last] == 0 ? exp(c->b[last]) : 0;
  for (int64_t i = 0; i < (int64_t)c->K * c->C; i++) c->S[i] = w == 0 ? 0 : w * c->S[i];
  for (int j = 0; j < n; j++) {
    if (c->segment[j] != c->segment[last]) continue;
    load_key(c, ev, b, first + j);
    const double gain = exp(c->b[last] - c->b[j]);
    for (int r = 0; r < c->K; r++) {
      add_multiple(c->S + (int64_t)r * c->C, c->v, c->C, gain * c->k[r]);
    }
  }
}

static void chunked_run(void *scratch, struct ref_eval *ev, const struct branch *b,
                        const struct ref_head *head) {
  struct chunked *c = scratch;
  const int64_t T = ev->call->T, chunk = ev->call->chunk;
  const size_t bytes = sizeof(double) * (size_t)c->K * (size_t)c->C;
  if (head->h0)
    memcpy(c->S, head->h0, bytes);
  else
    memset(c->S, 0, bytes);
  for (int64_t first = 0; first < T; first += chunk) {
    const int n = (int)(T - first < chunk ? T - first : chunk);
    scan_decay(c, ev, b, first, n);
    for (int i = 0; i < n; i++) {
      read_row(c, ev, b, first, i);
      double *y = head->y + (first + i) * c->V;
      for (int j = 0; j < c->V; j++) y[j] += c->y[j];
      if (c->C > c->V) head->n[first + i] += c->y[c->V];
    }
    advance_state(c, ev, b, first, n);
  }
  if (head->ht) memcpy(head->ht, c->S, bytes);
}

const struct ref_engine_ops ref_chunked_ops = {"chunked", chunked_refuses, chunked_create,
                                               chunked_run};
