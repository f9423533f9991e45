/* SPDX-License-Identifier: MIT
 * run_compare.c - the result of maskc run against the float64 reference, on the same rounded
 * inputs.
 *
 * Batch entry by batch entry, so that the float64 copies stay small. Where the whole reference
 * would take too long, the first and the last (batch, head) are compared, over all tokens, if
 * --reference asks for it; what was compared, if anything, is said in run->scope.
 */
#include "at_head.h"
#include "run.h"

#include "../ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Multiply-adds of the state that the reference may take without being asked: some seconds. */
static const double work_limit = 2e9;

enum { ALL_HEADS = -1 };

/* The part of the arrays that one call of the reference takes, in float64: a sequence. */
struct part {
  struct run *run;
  int64_t b, head;       /* head: ALL_HEADS, or one */
  int64_t heads;         /* in this part */
  int64_t first, tokens; /* of arrays with tokens: which rows of all batch entries' */
  struct ref_array *arrays;
  double *h0, *o, *ht, *n0, *nt;
};

/* Matrices of a head's state. */
static int64_t slots_of(const struct run *r) {
  return r->position ? r->n.S : 1;
}

/* ---- gathering ---- */

/* Rows of `width` floats of the heads that the part has; inputs of one sequence. */
static double *gather(const struct part *p, const struct run_array *x, int64_t *ret_heads) {
  const bool tokens = x->axes[1] == 'T', state = x->axes[0] != 'H' && !tokens;
  const char *h = strchr(x->axes, 'H');
  const int64_t slots = x->axes[1] == 'S' ? x->shape[1] : 1;
  const int64_t rows = tokens ? p->tokens : slots;
  int64_t width = 1;
  for (int d = (int)(h - x->axes) + 1; d < x->ndim; d++) width *= x->shape[d];
  const int64_t first = tokens ? p->first : state ? p->b * slots : 0;
  const float *from = x->values + first * x->heads * width;
  const int64_t head = p->head == ALL_HEADS ? 0 : p->head * x->heads / p->run->n.H;
  *ret_heads = p->head == ALL_HEADS ? x->heads : 1;
  double *out = malloc(sizeof *out * (size_t)(rows * *ret_heads * width + 1));
  for (int64_t i = 0; i < rows && out; i++)
    for (int64_t j = 0; j < *ret_heads * width; j++)
      out[i * *ret_heads * width + j] = from[(i * x->heads + head) * width + j];
  return out;
}

static mkc_status open_part(struct part *p, struct error *err) {
  struct run *r = p->run;
  const struct run_sizes *n = &r->n;
  p->heads = p->head == ALL_HEADS ? n->H : 1;
  p->first = r->sequences ? r->starts[p->b] : p->b * n->T;
  p->tokens = r->sequences ? r->starts[p->b + 1] - p->first : n->T;
  p->o = malloc(sizeof *p->o * (size_t)(p->tokens * p->heads * n->dv + 1));
  p->ht = malloc(sizeof *p->ht * (size_t)(slots_of(r) * p->heads * n->dk * n->dv));
  p->nt = malloc(sizeof *p->nt * (size_t)(p->heads * n->dk));
  bool ok = p->o && p->ht && p->nt;
  int64_t heads;
  for (int i = 0; i < r->variant->nleaves && ok; i++) {
    p->arrays[i].data = gather(p, &r->arrays[i], &p->arrays[i].heads);
    ok = p->arrays[i].data;
  }
  if (r->h0->present && ok) ok = (p->h0 = gather(p, r->h0, &heads)) != NULL;
  if (r->n0 && r->n0->present && ok) ok = (p->n0 = gather(p, r->n0, &heads)) != NULL;
  return ok ? MKC_OK : error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory for the reference");
}

static void close_part(struct part *p) {
  for (int i = 0; i < p->run->variant->nleaves; i++) free((void *)p->arrays[i].data);
  free(p->h0);
  free(p->o);
  free(p->ht);
  free(p->n0);
  free(p->nt);
}

/* ---- comparing ---- */

static void add_error(struct run_error *e, float result, double reference) {
  if (isfinite(result) != isfinite(reference)) {
    e->wrong++;
  } else if (isfinite(reference)) {
    const double difference = (double)result - reference;
    e->numerator += difference * difference;
    e->denominator += reference * reference;
  }
}

/* A step leaves slots as they are that hold nothing after it. */
static bool holds_nothing(const struct part *p, int64_t slot) {
  const struct run *r = p->run;
  if (!r->position || r->pass != MKC_STEP) return false;
  return !((((const int64_t *)r->position->packed)[p->b] + p->tokens) >> slot & 1);
}

/* An output [B,T,H,dv], state [B,(slots,)H,dk,dv] or [B,H,dk] against the part's
 * [rows,heads,width]. */
static void add_part(const struct part *p, const struct run_array *x, const double *reference,
                     struct run_error *e) {
  const bool state = x->axes[1] != 'T';
  const struct run_sizes *n = &p->run->n;
  const int64_t slots = slots_of(p->run);
  const int64_t rows = state ? slots : p->tokens;
  const int64_t width = x == p->run->nt ? n->dk : state ? n->dk * n->dv : n->dv;
  const float *batch = x->values + (state ? p->b * slots : p->first) * n->H * width;
  const int64_t head = p->head == ALL_HEADS ? 0 : p->head;
  for (int64_t i = 0; i < rows; i++) {
    if (state && holds_nothing(p, i)) continue;
    for (int64_t j = 0; j < p->heads * width; j++)
      add_error(e, batch[(i * n->H + head) * width + j], reference[i * p->heads * width + j]);
  }
}

/* The state of no tokens is the one at the start, of a fenwick mask its live slots. */
static void keep_state(struct part *p) {
  const struct run *r = p->run;
  const bool given = r->position && r->position->present;
  const int64_t live = given ? ((const int64_t *)r->position->packed)[p->b] : !r->position;
  const size_t n = (size_t)(p->heads * r->n.dk * r->n.dv);
  for (size_t i = 0; i < n * (size_t)slots_of(r); i++)
    p->ht[i] = p->h0 && (live >> i / n & 1) ? p->h0[i] : 0;
  for (int64_t i = 0; i < p->heads * r->n.dk; i++) p->nt[i] = p->n0 ? p->n0[i] : 0;
}

static mkc_status compare_part(struct run *r, int64_t b, int64_t head, struct error *err) {
  struct part p = {.run = r, .b = b, .head = head};
  const struct variant *v = r->variant;
  const bool given = r->position && r->position->present, column = r->nt && r->nt->present;
  const int64_t *position = given ? (const int64_t *)r->position->packed + b : NULL;
  p.arrays = arena_array(&r->cli->arena, struct ref_array, v->nleaves + 1);
  mkc_status status = open_part(&p, err);
  if (head != ALL_HEADS) v = variant_at_head(&r->cli->arena, v, head, r->n.H);
  const struct ref_call call = {.B = 1,
                                .T = p.tokens,
                                .H = p.heads,
                                .dk = (int)r->n.dk,
                                .dv = (int)r->n.dv,
                                .levels = r->n.L ? (int)r->n.L : 1,
                                .taps = 1,
                                .position = position,
                                .arrays = p.arrays,
                                .h0 = p.h0,
                                .o = p.o,
                                .ht = r->ht->present ? p.ht : NULL,
                                .n0 = p.n0,
                                .nt = column ? p.nt : NULL};
  if (!status && p.tokens > 0) status = ref_run(v, REF_STATE, &call, err);
  if (!status && p.tokens == 0) keep_state(&p);
  if (!status) {
    add_part(&p, r->o, p.o, &r->error_o);
    if (r->ht->present) add_part(&p, r->ht, p.ht, &r->error_ht);
    if (column) add_part(&p, r->nt, p.nt, &r->error_nt);
  }
  close_part(&p);
  return status;
}

static int64_t sequences(const struct run *r) {
  return r->sequences ? r->sequences : r->n.B;
}

static mkc_status compare_all(struct run *r, struct error *err) {
  mkc_status status = MKC_OK;
  const int64_t n = sequences(r);
  for (int64_t b = 0; b < n && !status; b++) {
    progress_show("reference: sequence %lld of %lld", (long long)b + 1, (long long)n);
    status = compare_part(r, b, ALL_HEADS, err);
  }
  snprintf(r->scope, sizeof r->scope, "everything");
  return status;
}

static mkc_status compare_ends(struct run *r, struct error *err) {
  const bool one = sequences(r) * r->n.H == 1;
  progress_show("reference: the first (batch, head)");
  mkc_status status = compare_part(r, 0, 0, err);
  if (!status && !one) {
    progress_show("reference: the last (batch, head)");
    status = compare_part(r, sequences(r) - 1, r->n.H - 1, err);
  }
  snprintf(r->scope, sizeof r->scope, "%lld of %lld (batch, head) pairs, all tokens",
           one ? 1LL : 2LL, (long long)(sequences(r) * r->n.H));
  return status;
}

/* ---- verdicts ---- */

double run_error_relative(const struct run_error *e) {
  if (e->wrong) return INFINITY;
  if (e->numerator == 0) return 0;
  return sqrt(e->numerator / e->denominator);
}

bool run_error_ok(const struct run_error *e) {
  return run_error_relative(e) <= e->tolerance;
}

static void count_nans(struct run *r) {
  const struct run_array *outputs[] = {r->o, r->ht, r->nt};
  for (int i = 0; i < (r->nt ? 3 : 2); i++)
    for (size_t j = 0; j < outputs[i]->count && outputs[i]->present; j++)
      r->nan_count += isnan(outputs[i]->values[j]);
}

/* Where a transition erases, an error of the state comes back with every key that is like it. */
static void set_tolerances(struct run *r) {
  const bool bf16 = r->dtype == MKC_BF16, fp16 = r->dtype == MKC_F16;
  const bool erases = r->variant->branches[0].delta != DELTA_PLAIN;
  r->error_o.tolerance = bf16 ? 5e-3 : fp16 ? 1e-3 : 1e-5;
  r->error_ht.tolerance = bf16 ? 3e-3 : fp16 ? 1e-3 : 1e-5;
  if (erases) r->error_o.tolerance = r->error_ht.tolerance = bf16 ? 1e-2 : fp16 ? 4e-3 : 1e-5;
  if (r->position && !erases) { /* blocks are joined, and rounded, once a level */
    r->error_o.tolerance = bf16 ? 6e-3 : fp16 ? 3e-3 : 1e-5;
    r->error_ht.tolerance = bf16 ? 5e-3 : fp16 ? 3e-3 : 1e-5;
  }
  r->error_nt.tolerance = r->error_ht.tolerance;
  if (r->pass != MKC_STEP) return;
  r->error_o.tolerance = bf16 ? 4e-3 : fp16 ? 5e-4 : 1e-5; /* what rounding o can do: 2^-8, 2^-11 */
  r->error_ht.tolerance = r->error_nt.tolerance = 1e-5;
}

mkc_status run_compare(struct run *r, struct error *err) {
  const struct run_sizes *n = &r->n;
  const double work = (double)n->B * (double)n->T * (double)n->H * (double)n->dk * (double)n->dv *
                      (double)slots_of(r);
  const char *why = NULL;
  count_nans(r);
  set_tolerances(r);
  if (args_flag(&r->cli->args, OPTION_NO_REFERENCE)) {
    snprintf(r->scope, sizeof r->scope, "--no-reference");
  } else if (!ref_applies(r->variant, REF_STATE, &why)) {
    snprintf(r->scope, sizeof r->scope, "the reference has no recurrence for it: %s", why);
  } else if (work > work_limit && !args_flag(&r->cli->args, OPTION_REFERENCE)) {
    snprintf(r->scope, sizeof r->scope,
             "too large for the whole reference; --reference compares a part");
  } else {
    const mkc_status status = work > work_limit ? compare_ends(r, err) : compare_all(r, err);
    progress_clear();
    if (status) return status;
    r->compared = true;
  }
  return MKC_OK;
}
