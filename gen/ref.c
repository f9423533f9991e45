/* SPDX-License-Identifier: MIT
 * ref.c - the reference as its callers see it, see ref.h.
 *
 * In: a variant, an engine and a call. How: check the call, plan the values, then for each batch
 * entry and head compute the inputs' expressions, run the engine on every branch, divide by the
 * normaliser, apply the output expression. Out: o and ht.
 */
#include "ref_internal.h"

#include <math.h>
#include <string.h>

static const struct ref_engine_ops *const engines[] = {
    [REF_DENSE] = &ref_dense_ops,
    [REF_STATE] = &ref_state_ops,
    [REF_CHUNKED] = &ref_chunked_ops,
    [REF_CACHE] = &ref_cache_ops,
};

bool ref_applies(const struct variant *v, enum ref_engine engine, const char **ret_why) {
  for (int i = 0; i < v->nbranches; i++) {
    const char *why = engines[engine]->refuses(v, &v->branches[i]);
    if (ret_why) *ret_why = why;
    if (why) return false;
  }
  return true;
}

double *ref_doubles(struct arena *a, int64_t n, int64_t m) {
  const int64_t most = PTRDIFF_MAX / (int64_t)sizeof(double) / 2;
  if (m > 0 && n > most / m) longjmp(*a->out_of_memory, 1);
  return arena_array(a, double, n *m);
}

double ref_relative_l2(const double *x, const double *y, size_t n) {
  double largest = 0, error = 0, norm = 0;
  for (size_t i = 0; i < n; i++) {
    if (!isfinite(x[i]) || !isfinite(y[i])) return INFINITY;
    largest = fmax(largest, fmax(fabs(x[i]), fabs(y[i])));
  }
  if (largest == 0) return 0;
  for (size_t i = 0; i < n; i++) { /* scaled, so that squares stay finite */
    const double a = x[i] / largest, b = y[i] / largest;
    error += (a - b) * (a - b);
    norm += b * b;
  }
  return error == 0 ? 0 : sqrt(error / norm);
}

/* ---- the call ---- */

static bool has_fenwick(const struct variant *v) {
  for (int i = 0; i < v->nbranches; i++) {
    if (ref_fenwick(&v->branches[i])) return true;
  }
  return false;
}

static bool uses_axis(const struct variant *v, enum axis axis) {
  for (int i = 0; i < v->nleaves; i++) {
    if (v->leaves[i]->axis == axis) return true;
  }
  return false;
}

static mkc_status check_sizes(const struct variant *v, enum ref_engine engine,
                              const struct ref_call *c, struct error *err) {
  if (c->B < 1 || c->T < 1 || c->H < 1 || c->dk < 1 || c->dv < 1) {
    return error_set(err, MKC_E_ARGUMENT,
                     "B, T, H, dk and dv must be at least 1; they are %lld, %lld, %lld, %d and %d",
                     (long long)c->B, (long long)c->T, (long long)c->H, c->dk, c->dv);
  }
  if (engine == REF_CHUNKED && c->chunk < 1) {
    return error_set(err, MKC_E_ARGUMENT, "the chunk must be at least 1; it is %d", c->chunk);
  }
  if (uses_axis(v, AXIS_TAPS) && c->taps < 1) {
    return error_set(err, MKC_E_ARGUMENT, "taps must be at least 1; it is %d", c->taps);
  }
  if (uses_axis(v, AXIS_LEVELS) && c->levels < 1) {
    return error_set(err, MKC_E_ARGUMENT, "levels must be at least 1; it is %d", c->levels);
  }
  return MKC_OK;
}

/* A token at position p sees levels up to bit_length(p); a state after p tokens has as many slots.
 */
static mkc_status check_levels(const struct variant *v, const struct ref_call *c,
                               struct error *err) {
  for (int64_t b = 0; b < c->B && has_fenwick(v); b++) {
    const int64_t position = c->position ? c->position[b] : 0;
    const int64_t end = position + c->T;
    const int levels = ref_bit_length(c->ht ? end : end - 1) + 1;
    if (position < 0)
      return error_set(err, MKC_E_ARGUMENT, "position[%lld] is %lld; it must be at least 0",
                       (long long)b, (long long)position);
    if (c->levels < levels)
      return error_set(err, MKC_E_ARGUMENT,
                       "%lld tokens under fenwick%s need %d levels; there are %d", (long long)end,
                       c->ht ? " and their state" : "", levels, c->levels);
  }
  return MKC_OK;
}

static mkc_status check_arrays(const struct variant *v, const struct ref_call *c,
                               struct error *err) {
  for (int i = 0; i < v->nleaves; i++) {
    const char *name = v->leaves[i]->name;
    if (!c->arrays || !c->arrays[i].data) {
      return error_set(err, MKC_E_ARGUMENT, "there is no array for '%s'", name);
    }
    if (c->arrays[i].heads < 1 || c->H % c->arrays[i].heads != 0) {
      return error_set(err, MKC_E_ARGUMENT, "'%s' has %lld heads, which does not divide H = %lld",
                       name, (long long)c->arrays[i].heads, (long long)c->H);
    }
  }
  if (!c->o) return error_set(err, MKC_E_ARGUMENT, "there is no array for o");
  return MKC_OK;
}

static mkc_status check_call(const struct variant *v, enum ref_engine engine,
                             const struct ref_call *c, struct error *err) {
  const char *why = NULL;
  if (!ref_applies(v, engine, &why)) {
    return error_set(err, MKC_E_ARGUMENT, "%s: the %s engine does not apply: %s", v->name,
                     engines[engine]->name, why);
  }
  mkc_status status = check_sizes(v, engine, c, err);
  if (!status) status = check_levels(v, c, err);
  if (!status) status = check_arrays(v, c, err);
  if (status) return status;
  if ((c->h0 || c->ht) && !ref_has_state(v)) {
    return error_set(err, MKC_E_ARGUMENT, "%s: h0 and ht need a state that is [dk, dv] matrices",
                     v->name);
  }
  if ((c->n0 || c->nt) && !(v->normaliser && ref_has_state(v))) {
    return error_set(err, MKC_E_ARGUMENT, "%s: n0 and nt are of a normaliser", v->name);
  }
  const bool slots = has_fenwick(v) && engine != REF_STATE;
  if ((c->ht && engine == REF_DENSE) ||
      ((c->h0 || c->ht || c->position) && (engine == REF_CACHE || slots))) {
    return error_set(err, MKC_E_ARGUMENT, "%s: the %s engine has no such state", v->name,
                     engines[engine]->name);
  }
  return MKC_OK;
}

/* ---- normaliser and output ---- */

/* The normaliser at token t of a row sum kept as n exp(-m): it is homogeneous, so terms without
 * rowsum are multiplied by exp(-m). x: scratch by id. */
static double homogeneous(const struct ref_eval *ev, int64_t t, double n, double exp_minus_m,
                          double *x) {
  const struct ref_program *p = &ev->normaliser;
  for (size_t i = 0; i < p->n; i++) {
    const struct expr *e = p->values[i]->expr;
    double arg[2] = {0, 0};
    for (int j = 0; j < 2 && e->arg[j]; j++) {
      const struct ref_value *value = ref_value(ev, e->arg[j]);
      arg[j] = value->late ? x[e->arg[j]->id] : ref_at(value, t, 0)[0] * exp_minus_m;
    }
    x[e->id] = e->op == OP_SYMBOL ? n : op_value(e->op, arg[0], arg[1]);
  }
  return x[ev->variant->normaliser->id];
}

/* y /= normaliser(n). A row that sees nothing is 0, not 0/0. */
static void normalise(struct ref_eval *ev, const struct ref_head *head, bool maximum, double *x) {
  const int64_t T = ev->call->T;
  const struct expr *normaliser = ev->variant->normaliser;
  if (!maximum) {
    ref_eval_late(ev, &ev->normaliser, REF_LATE_ROWSUM, (struct ref_binding){head->n, T, 1});
  }
  for (int64_t t = 0; t < T; t++) {
    double *y = head->y + t * ev->V;
    const double m = maximum && isfinite(head->m[t]) ? head->m[t] : 0;
    const double d =
        maximum ? homogeneous(ev, t, head->n[t], exp(-m), x) : ref_scalar(ev, normaliser, t, 0);
    for (int j = 0; j < ev->V; j++) {
      if (d != 0 || head->n[t] != 0 || y[j] != 0) y[j] /= d;
    }
  }
}

/* o [B,T,H,V] <- the output expression of y, for one head. */
static void store(struct ref_eval *ev, double *y, int64_t b, int64_t h) {
  const struct ref_call *c = ev->call;
  const struct expr *output = ev->variant->output;
  const size_t bytes = sizeof(double) * (size_t)ev->V;
  if (output) ref_eval_late(ev, &ev->output, REF_LATE_O, (struct ref_binding){y, c->T, ev->V});
  for (int64_t t = 0; t < c->T; t++) {
    double *o = c->o + ((b * c->T + t) * c->H + h) * ev->V;
    if (output)
      ref_vector(ev, output, t, 0, ev->V, o);
    else
      memcpy(o, y + t * ev->V, bytes);
  }
}

/* ---- states ---- */

void ref_load_state(const struct ref_head *head, int K, int V, int C, double *S) {
  for (int i = 0; i < K; i++) {
    double *row = S + (int64_t)i * C;
    for (int j = 0; j < V; j++) row[j] = head->h0 ? head->h0[(int64_t)i * V + j] : 0;
    if (C > V) row[V] = head->n0 ? head->n0[i] : 0;
  }
}

void ref_store_state(const struct ref_head *head, int K, int V, int C, const double *S) {
  for (int i = 0; i < K; i++) {
    const double *row = S + (int64_t)i * C;
    for (int j = 0; j < V; j++) head->ht[(int64_t)i * V + j] = row[j];
    if (C > V && head->nt) head->nt[i] = row[V];
  }
}

/* ---- running ---- */

struct run {
  struct ref_eval ev;
  const struct ref_engine_ops *engine;
  void **scratch; /* of the engine, one a branch */
  struct ref_head head;
  double *normaliser; /* by id */
  bool maximum;
};

/* The caller's o, h0 and ht are as wide as dk and dv say. */
static mkc_status check_widths(const struct ref_eval *ev, struct error *err) {
  const struct ref_call *c = ev->call;
  const int K = ref_rows(ev, &ev->variant->branches[0]), rows = c->rows ? c->rows : c->dk;
  if (ev->V != c->dv) {
    return error_set(err, MKC_E_ARGUMENT, "%s: v has %d channels and dv is %d", ev->variant->name,
                     ev->V, c->dv);
  }
  if ((c->h0 || c->ht) && K != rows) {
    return error_set(err, MKC_E_ARGUMENT, "%s: the state has %d rows, h0 and ht %d",
                     ev->variant->name, K, rows);
  }
  return MKC_OK;
}

static mkc_status run_init(struct run *r, struct arena *a, const struct variant *v,
                           enum ref_engine engine, const struct ref_call *c, struct error *err) {
  mkc_status status = ref_eval_init(&r->ev, a, v, c, err);
  if (!status) status = check_widths(&r->ev, err);
  if (status) return status;
  r->engine = engines[engine];
  r->scratch = arena_array(a, void *, v->nbranches);
  for (int i = 0; i < v->nbranches; i++) {
    r->scratch[i] = r->engine->create(a, &r->ev, &v->branches[i]);
  }
  r->head.y = ref_doubles(a, c->T, r->ev.V);
  r->head.n = ref_doubles(a, c->T, 1);
  r->head.m = ref_doubles(a, c->T, 1);
  r->normaliser = ref_doubles(a, (int64_t)r->ev.n, 1);
  r->maximum = engine == REF_STATE && ref_has_maximum(v, &v->branches[0]);
  return MKC_OK;
}

static void run_head(struct run *r, int64_t b, int64_t h) {
  const struct ref_call *c = r->ev.call;
  const struct variant *v = r->ev.variant;
  const int64_t state = (int64_t)ref_rows(&r->ev, &v->branches[0]) * r->ev.V;
  const int64_t slots = ref_state_slots(v, c->levels);
  const int64_t index = (b * slots * c->H + h) * state;
  r->head.h0 = c->h0 ? c->h0 + index : NULL;
  r->head.ht = c->ht ? c->ht + index : NULL;
  const int64_t column = (b * c->H + h) * ref_rows(&r->ev, &v->branches[0]);
  r->head.n0 = c->n0 ? c->n0 + column : NULL;
  r->head.nt = c->nt ? c->nt + column : NULL;
  r->head.slot_stride = c->H * state;
  r->head.position = c->position ? c->position[b] : 0;
  memset(r->head.y, 0, sizeof(double) * (size_t)(c->T * r->ev.V));
  memset(r->head.n, 0, sizeof(double) * (size_t)c->T);
  ref_eval_head(&r->ev, b, h);
  for (int i = 0; i < v->nbranches; i++) {
    r->engine->run(r->scratch[i], &r->ev, &v->branches[i], &r->head);
  }
  if (v->normaliser) normalise(&r->ev, &r->head, r->maximum, r->normaliser);
  store(&r->ev, r->head.y, b, h);
}

static mkc_status run_all(struct arena *a, const struct variant *v, enum ref_engine engine,
                          const struct ref_call *c, struct error *err) {
  struct run *r = arena_new(a, struct run);
  const mkc_status status = run_init(r, a, v, engine, c, err);
  for (int64_t b = 0; !status && b < c->B; b++) {
    for (int64_t h = 0; h < c->H; h++) run_head(r, b, h);
  }
  return status;
}

mkc_status ref_run(const struct variant *v, enum ref_engine engine, const struct ref_call *call,
                   struct error *err) {
  mkc_status status = check_call(v, engine, call, err);
  if (status) return status;
  struct arena a;
  jmp_buf oom;
  arena_init(&a, &oom);
  if (setjmp(oom)) {
    arena_finish(&a);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "%s: no memory for the float64 reference", v->name);
  }
  status = run_all(&a, v, engine, call, err);
  arena_finish(&a);
  return status;
}
