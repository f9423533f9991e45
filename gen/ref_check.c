/* SPDX-License-Identifier: MIT
 * ref_check.c - random arrays inside their contracts, and the comparison of the engines.
 *
 * In: a variant. How: for a few small shapes (ragged chunks, one token, fewer heads than H), draw
 * every leaf, plant resets and endpoints in the gates, run every engine that applies. Out: the
 * largest relative error of each pair of engines.
 */
#include "ref_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- random values ---- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static double uniform(uint64_t *state) { /* in (0, 1) */
  return ((double)(next_random(state) >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t *state) { /* Box and Muller */
  const double r = sqrt(-2 * log(uniform(state)));
  return r * cos(6.283185307179586 * uniform(state));
}

/* Each leaf of a variant has its own sequence for one seed. */
static uint64_t leaf_seed(const struct leaf *leaf, uint64_t seed) {
  uint64_t state = seed;
  for (const char *c = leaf->name; *c; c++) {
    state ^= (unsigned char)*c;
    state = next_random(&state);
  }
  return state;
}

enum { TYPICAL_TAPS = 4 };

void ref_draw(const struct leaf *leaf, uint64_t seed, double *out, size_t n) {
  const bool above = isfinite(leaf->min), below = isfinite(leaf->max);
  const double gate = 0.3; /* the size of a log gate */
  uint64_t state = leaf_seed(leaf, seed);
  for (size_t i = 0; i < n; i++) {
    const double x = normal(&state);
    if (above && below)
      out[i] = leaf->min + (leaf->max - leaf->min) / (1 + exp(-x));
    else if (below)
      out[i] = leaf->max - fabs(x) * (leaf->fp32 ? gate : 1);
    else if (above)
      out[i] = leaf->min + fabs(x);
    else
      out[i] = leaf->axis == AXIS_TAPS ? x / TYPICAL_TAPS : x;
  }
}

/* ---- extreme gates ---- */

static bool is_leaf(const struct expr *e, const struct leaf *leaf) {
  return e && e->leaf == leaf && (e->op == OP_INPUT || e->op == OP_PARAM);
}

/* Some use of the leaf in e other than as exp(leaf) or on its own: there -inf may make NaN. */
static bool used_otherwise(const struct expr *e, const struct leaf *leaf) {
  for (int i = 0; i < 2 && e->arg[i]; i++) {
    if (is_leaf(e->arg[i], leaf) ? e->op != OP_EXP : used_otherwise(e->arg[i], leaf)) return true;
  }
  return false;
}

struct gate_search {
  const struct leaf *leaf;
  bool is_gate; /* it is a decay factor, a rate or the log of a decay, with nothing done to it */
  bool otherwise;
};

static void search_gate(void *data, const struct expr *e) {
  struct gate_search *g = data;
  g->otherwise |= used_otherwise(e, g->leaf);
}

static bool is_gate(const struct variant *v, const struct leaf *leaf) {
  for (int i = 0; i < v->nbranches; i++) {
    const struct branch *b = &v->branches[i];
    if (is_leaf(b->q, leaf) || is_leaf(b->k, leaf) || is_leaf(b->v, leaf)) return false;
    for (int j = 0; j < b->nfactors; j++) {
      const struct factor *f = &b->factors[j];
      if (is_leaf(f->log, leaf) || is_leaf(f->diag, leaf) || is_leaf(f->beta, leaf)) return true;
    }
    for (int j = 0; j < b->nweights; j++) {
      const struct weight *w = &b->weights[j];
      if (w->kind == WEIGHT_DECAY && (is_leaf(w->log, leaf) || is_leaf(w->expr, leaf))) return true;
    }
  }
  return false;
}

/* The ends of a gate's contract: one value in 12 keeps everything, one in 12 is a reset. */
static void plant_extremes(const struct variant *v, const struct leaf *leaf, uint64_t seed,
                           double *x, size_t n) {
  struct gate_search search = {.leaf = leaf, .is_gate = is_gate(v, leaf)};
  uint64_t state = ~leaf_seed(leaf, seed);
  if (!search.is_gate || !isfinite(leaf->max)) return;
  ref_each_root(v, search_gate, &search);
  if (search.otherwise && !isfinite(leaf->min)) return;
  for (size_t i = 0; i < n; i++) {
    switch (next_random(&state) % 24) {
    case 0:
    case 1: x[i] = leaf->max; break;
    case 2: x[i] = leaf->min; break;
    case 3: x[i] = fmax(leaf->min, -1e4); break;
    default: break;
    }
  }
}

/* ---- shapes and arrays ---- */

struct check_shape {
  int64_t B, T, H;
  int dk, dv, chunk;
};

static const struct check_shape shapes[] = {
    {1, 1, 1, 5, 4, 16},  {2, 5, 4, 5, 4, 2},   {1, 23, 3, 4, 5, 8},
    {1, 64, 4, 5, 4, 64}, {2, 65, 2, 5, 4, 64}, {1, 70, 4, 3, 7, 32},
};
enum { NSHAPES = sizeof shapes / sizeof *shapes, TAPS = 6 };

/* Of T tokens and the state after them. */
static int levels_for(int64_t T) {
  return ref_bit_length(T) + 1;
}

static int64_t leaf_width(const struct leaf *leaf, const struct ref_call *c) {
  switch (leaf->axis) {
  case AXIS_DK: return c->dk;
  case AXIS_DV: return c->dv;
  case AXIS_LEVELS: return c->levels;
  case AXIS_TAPS: return c->taps;
  case AXIS_NONE: break;
  }
  return 1;
}

/* Elements of one token's row, or of a whole param. */
static int64_t row_size(const struct variant *v, const struct leaf *leaf,
                        const struct ref_call *c) {
  const int64_t steps = leaf->step && v->steps ? (int64_t)v->steps->value : 1;
  return steps * c->arrays[leaf->index].heads * leaf_width(leaf, c);
}

/* q and k are both scalars: the state has one row. */
static bool has_one_row(const struct variant *v) {
  for (int i = 0; i < v->nbranches; i++) {
    const struct branch *b = &v->branches[i];
    if (b->q->axis != AXIS_NONE || b->k->axis != AXIS_NONE) return false;
  }
  return true;
}

/* Rows of the state: the channels of q and k, which concat makes more than dk. */
static int state_rows(const struct variant *v, int dk) {
  const struct expr *q = v->branches[0].q, *k = v->branches[0].k;
  return dk * (q->width > k->width ? q->width : k->width);
}

/* The heads of every third leaf are H, of the next H / 2, of the next 1, where that divides. */
static int64_t heads_of(int leaf, int64_t H) {
  const int64_t some[] = {H, H % 2 ? H : H / 2, 1};
  return some[leaf % 3];
}

static struct ref_call draw_call(struct arena *a, const struct variant *v,
                                 const struct check_shape *shape, uint64_t seed) {
  struct ref_call c = {.B = shape->B, .T = shape->T, .H = shape->H, .dv = shape->dv};
  c.dk = has_one_row(v) ? 1 : shape->dk;
  c.rows = state_rows(v, c.dk);
  c.chunk = shape->chunk;
  c.levels = levels_for(c.T);
  c.taps = TAPS;
  struct ref_array *arrays = arena_array(a, struct ref_array, v->nleaves);
  c.arrays = arrays;
  for (int i = 0; i < v->nleaves; i++) {
    const struct leaf *leaf = v->leaves[i];
    arrays[i].heads = heads_of(i, c.H);
    const int64_t n = (leaf->param ? 1 : c.B * c.T) * row_size(v, leaf, &c);
    double *data = ref_doubles(a, n, 1);
    ref_draw(leaf, seed, data, (size_t)n);
    plant_extremes(v, leaf, seed, data, (size_t)n);
    arrays[i].data = data;
  }
  return c;
}

static bool has_slots(const struct variant *v) {
  return ref_fenwick(&v->branches[0]) != NULL;
}

/* Elements of ht. */
static int64_t state_size(const struct variant *v, const struct ref_call *c) {
  return c->B * ref_state_slots(v, c->levels) * c->H * c->rows * c->dv;
}

static void draw_state(struct arena *a, const struct variant *v, uint64_t seed,
                       struct ref_call *c) {
  const int64_t rows = c->B * c->H * c->rows;
  double *h0 = ref_doubles(a, rows, c->dv), *n0 = v->normaliser ? ref_doubles(a, rows, 1) : NULL;
  for (int64_t i = 0; i < rows * c->dv; i++) h0[i] = normal(&seed);
  for (int64_t i = 0; i < rows && n0; i++) n0[i] = fabs(normal(&seed));
  c->h0 = h0;
  c->n0 = n0;
}

/* Outputs of the states, fresh. */
static void make_states(struct arena *a, const struct variant *v, struct ref_call *c) {
  c->ht = ref_doubles(a, state_size(v, c), 1);
  c->nt = v->normaliser ? ref_doubles(a, c->B * c->H * c->rows, 1) : NULL;
}

/* Tokens first ... first + T - 1 of a call with B = 1. */
static struct ref_call slice(struct arena *a, const struct variant *v, const struct ref_call *c,
                             int64_t first, int64_t T) {
  struct ref_call part = *c;
  struct ref_array *arrays = arena_array(a, struct ref_array, v->nleaves);
  for (int i = 0; i < v->nleaves; i++) {
    arrays[i] = c->arrays[i];
    if (!v->leaves[i]->param) arrays[i].data += first * row_size(v, v->leaves[i], c);
  }
  part.arrays = arrays;
  part.T = T;
  part.o += first * c->H * c->dv;
  return part;
}

/* ---- comparisons ---- */

enum { FINITE, CACHE_DENSE, STATE_DENSE, CHUNKED_STATE, PIECES_WHOLE, NCOMPARISONS };

static const char *const comparison_names[] = {
    [FINITE] = "o is finite",
    [CACHE_DENSE] = "cache = dense",
    [STATE_DENSE] = "state = dense",
    [CHUNKED_STATE] = "chunked = state",
    [PIECES_WHOLE] = "two pieces = one",
};

struct check {
  struct arena *arena;
  const struct variant *v;
  struct error *err;
  double worst[NCOMPARISONS]; /* -1: never compared */
  struct check_shape where[NCOMPARISONS];
  const struct check_shape *shape;
};

static void note(struct check *k, int comparison, double error) {
  if (error <= k->worst[comparison]) return;
  k->worst[comparison] = error;
  k->where[comparison] = *k->shape;
}

static mkc_status run_engine(struct check *k, enum ref_engine engine, struct ref_call *c,
                             bool state) {
  c->o = ref_doubles(k->arena, c->B * c->T * c->H, c->dv);
  c->ht = c->nt = NULL;
  if (state) make_states(k->arena, k->v, c);
  return ref_run(k->v, engine, c, k->err);
}

static double compare_calls(const struct variant *v, const struct ref_call *x,
                            const struct ref_call *y) {
  const double o = ref_relative_l2(x->o, y->o, (size_t)(x->B * x->T * x->H * x->dv));
  if (!x->ht || !y->ht) return o;
  const double ht = ref_relative_l2(x->ht, y->ht, (size_t)state_size(v, x));
  const size_t rows = (size_t)(x->B * x->H * x->rows);
  return fmax(fmax(o, ht), x->nt ? ref_relative_l2(x->nt, y->nt, rows) : 0);
}

/* The state handed from one call to the next. */
static mkc_status check_pieces(struct check *k, const struct ref_call *whole) {
  struct ref_call joined = *whole;
  joined.o = ref_doubles(k->arena, whole->T * whole->H, whole->dv);
  const int64_t middle = whole->T / 2;
  struct ref_call first = slice(k->arena, k->v, &joined, 0, middle);
  make_states(k->arena, k->v, &first);
  struct ref_call second = slice(k->arena, k->v, &joined, middle, whole->T - middle);
  second.h0 = first.ht;
  second.n0 = first.nt;
  make_states(k->arena, k->v, &second);
  joined.ht = second.ht;
  joined.nt = second.nt;
  if (has_slots(k->v)) second.position = &middle;
  mkc_status status = ref_run(k->v, REF_STATE, &first, k->err);
  if (!status) status = ref_run(k->v, REF_STATE, &second, k->err);
  if (!status) note(k, PIECES_WHOLE, compare_calls(k->v, &joined, whole));
  return status;
}

static bool is_finite(const struct ref_call *c) {
  return ref_relative_l2(c->o, c->o, (size_t)(c->B * c->T * c->H * c->dv)) == 0;
}

/* Runs an engine, if it applies, and compares it with `with`; *ret is the call it ran. */
static mkc_status compare(struct check *k, enum ref_engine engine, int comparison, bool state,
                          const struct ref_call *with, struct ref_call *ret) {
  *ret = *with;
  if (!ref_applies(k->v, engine, NULL)) return MKC_OK;
  const mkc_status status = run_engine(k, engine, ret, state);
  if (!status) note(k, comparison, compare_calls(k->v, ret, with));
  return status;
}

static mkc_status check_arrays(struct check *k, const struct ref_call *call, bool state) {
  struct ref_call dense = *call, recurrent, other;
  mkc_status status = run_engine(k, REF_DENSE, &dense, false);
  if (!status && !is_finite(&dense)) { /* then no engine can be right */
    note(k, FINITE, INFINITY);
    return MKC_OK;
  }
  if (!status && !call->h0) status = compare(k, REF_CACHE, CACHE_DENSE, false, &dense, &other);
  if (!status) status = compare(k, REF_STATE, STATE_DENSE, state, &dense, &recurrent);
  if (!status) status = compare(k, REF_CHUNKED, CHUNKED_STATE, state, &recurrent, &other);
  if (status || !state || call->B > 1 || call->T == 1) return status;
  return check_pieces(k, &recurrent);
}

static mkc_status check_shapes(struct check *k, uint64_t seed) {
  const bool state = ref_has_state(k->v);
  for (int i = 0; i < NSHAPES; i++) {
    k->shape = &shapes[i];
    struct ref_call c = draw_call(k->arena, k->v, k->shape, seed + (uint64_t)i);
    mkc_status status = check_arrays(k, &c, state);
    if (!status && state && !has_slots(k->v)) {
      draw_state(k->arena, k->v, seed, &c);
      status = check_arrays(k, &c, state);
    }
    if (status) return status;
  }
  return MKC_OK;
}

static mkc_status differs(const struct check *k, int comparison, double tolerance) {
  const struct check_shape *s = &k->where[comparison];
  if (comparison == FINITE) {
    error_set(k->err, MKC_E_TOLERANCE,
              "%s: o is not finite for random inputs: the state or the score grows without bound",
              k->v->name);
  } else {
    error_set(k->err, MKC_E_TOLERANCE,
              "%s: %s does not hold: relative error %.1e, at most %.0e is allowed", k->v->name,
              comparison_names[comparison], k->worst[comparison], tolerance);
  }
  error_append(k->err, " (B=%lld, T=%lld, H=%lld, dk=%d, dv=%d)", (long long)s->B, (long long)s->T,
               (long long)s->H, s->dk, s->dv);
  return MKC_E_TOLERANCE;
}

/* exp(qk) has |qk| times the relative error of qk. */
static double tolerance_of(const struct variant *v) {
  for (int i = 0; i < v->nbranches; i++) {
    if (v->branches[i].degree < 0) return 1e-10;
  }
  return 1e-12;
}

static mkc_status report(const struct check *k, struct ref_report *reports, int *ret_n) {
  const double tolerance = tolerance_of(k->v);
  mkc_status status = MKC_OK;
  *ret_n = 0;
  for (int i = 0; i < NCOMPARISONS; i++) {
    if (k->worst[i] < 0) continue;
    struct ref_report *r = &reports[(*ret_n)++];
    snprintf(r->what, sizeof r->what, "%s", comparison_names[i]);
    r->error = k->worst[i];
    r->tolerance = tolerance;
    r->ok = r->error <= tolerance;
    if (!r->ok && !status) status = differs(k, i, tolerance);
  }
  return status;
}

mkc_status ref_check(const struct variant *v, uint64_t seed, struct ref_report *reports, int *ret_n,
                     struct error *err) {
  struct arena a;
  jmp_buf oom;
  *ret_n = 0;
  arena_init(&a, &oom);
  if (setjmp(oom)) {
    arena_finish(&a);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "%s: no memory for the float64 reference", v->name);
  }
  struct check *k = arena_new(&a, struct check);
  *k = (struct check){.arena = &a, .v = v, .err = err, .worst = {-1, -1, -1, -1, -1}};
  mkc_status status = check_shapes(k, seed);
  if (!status) status = report(k, reports, ret_n);
  arena_finish(&a);
  return status;
}
