/* SPDX-License-Identifier: MIT
 * ref_world.c - see ref_world.h.
 */
#include "ref_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- building a variant ---- */

struct expr *node(struct world *w, enum op op, const struct expr *a, const struct expr *b) {
  struct expr *e = arena_new(&w->arena, struct expr);
  *e = (struct expr){.op = op, .arg = {a, b}, .width = 1, .id = w->ids++};
  for (int i = 0; i < 2 && e->arg[i]; i++) {
    if (e->arg[i]->axis) e->axis = e->arg[i]->axis;
    e->token |= e->arg[i]->token;
    e->step |= e->arg[i]->step;
  }
  if (op == OP_SUM) e->axis = AXIS_NONE;
  return e;
}

const struct expr *number(struct world *w, double x) {
  struct expr *e = node(w, OP_CONST, NULL, NULL);
  e->value = x;
  return e;
}

const struct expr *symbol(struct world *w, enum symbol s) {
  struct expr *e = node(w, OP_SYMBOL, NULL, NULL);
  e->symbol = s;
  if (s == SYM_O) e->axis = AXIS_DV;
  return e;
}

const struct expr *unary(struct world *w, enum op op, const struct expr *a) {
  return node(w, op, a, NULL);
}

const struct expr *binary(struct world *w, enum op op, const struct expr *a, const struct expr *b) {
  return node(w, op, a, b);
}

const struct expr *times(struct world *w, const struct expr *a, const struct expr *b) {
  return node(w, OP_MUL, a, b);
}

const struct expr *norm(struct world *w, const struct expr *a) {
  struct expr *e = node(w, OP_L2NORM, a, NULL);
  e->value = 1e-6;
  return e;
}

const struct expr *leaf(struct world *w, const char *name, enum axis axis, bool param, bool step) {
  assert_true(w->nleaves < MAX_LEAVES);
  struct leaf *l = arena_new(&w->arena, struct leaf);
  *l = (struct leaf){.name = name, .param = param, .axis = axis, .step = step};
  l->min = -INFINITY;
  l->max = INFINITY;
  l->index = w->nleaves;
  w->leaves[w->nleaves++] = l;
  struct expr *e = node(w, param ? OP_PARAM : OP_INPUT, NULL, NULL);
  e->axis = axis;
  e->token = !param;
  e->step = step;
  e->leaf = l;
  return e;
}

const struct expr *input(struct world *w, const char *name, enum axis axis) {
  return leaf(w, name, axis, false, false);
}

void add_factor(struct world *w, struct factor f) {
  struct factor *all = arena_array(&w->arena, struct factor, w->branch.nfactors + 1);
  for (int i = 0; i < w->branch.nfactors; i++) all[i] = w->branch.factors[i];
  all[w->branch.nfactors++] = f;
  w->branch.factors = all;
}

void add_weight(struct world *w, struct weight m) {
  struct weight *all = arena_array(&w->arena, struct weight, w->branch.nweights + 1);
  for (int i = 0; i < w->branch.nweights; i++) all[i] = w->branch.weights[i];
  all[w->branch.nweights++] = m;
  w->branch.weights = all;
}

void add_decay(struct world *w, const struct expr *log) {
  add_factor(w, (struct factor){.kind = FACTOR_DECAY, .diag = unary(w, OP_EXP, log), .log = log});
}

void add_outer(struct world *w, enum factor_kind kind, const struct expr *log, const struct expr *b,
               const struct expr *a) {
  struct lowrank *low = arena_new(&w->arena, struct lowrank);
  *low = (struct lowrank){b, a};
  add_factor(w, (struct factor){
                    .kind = kind, .log = log, .nlow = 1, .low = low, .step = b->step || a->step});
}

void add_delta(struct world *w, const struct expr *beta) {
  const struct expr *k = w->branch.k;
  add_outer(w, FACTOR_DELTA, NULL, unary(w, OP_NEG, times(w, beta, k)), k);
  w->branch.v = times(w, beta, w->branch.v);
}

struct world *world_create(void) {
  struct world *w = calloc(1, sizeof *w);
  assert_non_null(w);
  arena_init(&w->arena, &w->oom);
  w->branch = (struct branch){.causal = true, .linear = true, .degree = 1};
  w->branch.q = input(w, "q", AXIS_DK);
  w->branch.k = input(w, "k", AXIS_DK);
  w->branch.v = input(w, "v", AXIS_DV);
  w->branch.scale = number(w, 0.5);
  w->branch.score = symbol(w, SYM_QK);
  w->variant = (struct variant){.path = "test.lua", .name = "test", .nbranches = 1};
  w->variant.branches = &w->branch;
  w->variant.leaves = w->leaves;
  w->call = (struct ref_call){.B = 1, .T = 23, .H = 1, .dk = DK, .dv = DV, .levels = 6, .taps = 6};
  w->call.chunk = 8;
  return w;
}

void world_destroy(struct world *w) {
  arena_finish(&w->arena);
  free(w);
}

/* ---- calling ---- */

int64_t width_of(const struct leaf *l, const struct ref_call *c) {
  const int width[] = {1, c->dk, c->dv, c->levels, c->taps};
  return width[l->axis];
}

static size_t leaf_size(const struct world *w, const struct leaf *l) {
  const int64_t steps = l->step ? (int64_t)w->variant.steps->value : 1;
  const int64_t rows = l->param ? 1 : w->call.B * w->call.T * steps;
  return (size_t)(rows * w->arrays[l->index].heads * width_of(l, &w->call));
}

void draw_all(struct world *w) {
  w->variant.nleaves = w->nleaves;
  w->call.arrays = w->arrays;
  for (int i = 0; i < w->nleaves; i++) {
    if (w->arrays[i].heads == 0) w->arrays[i].heads = w->call.H;
    if (w->arrays[i].data) continue;
    const size_t n = leaf_size(w, w->leaves[i]);
    double *x = arena_array(&w->arena, double, n);
    ref_draw(w->leaves[i], 7, x, n);
    w->arrays[i].data = x;
  }
}

double *array(struct world *w, const char *name) {
  for (int i = 0; i < w->nleaves; i++) {
    if (!strcmp(w->leaves[i]->name, name)) return (double *)w->arrays[i].data;
  }
  fail_msg("no array '%s'", name);
  return NULL;
}

size_t o_size(const struct world *w) {
  return (size_t)(w->call.B * w->call.T * w->call.H * w->call.dv);
}

double *run_engine(struct world *w, enum ref_engine engine) {
  struct error err = {0};
  w->call.o = arena_array(&w->arena, double, o_size(w));
  if (ref_run(&w->variant, engine, &w->call, &err)) fail_msg("%s", error_text(&err));
  return w->call.o;
}

void assert_engines(struct world *w, const double *expected, int engines) {
  int n = 0;
  for (enum ref_engine e = REF_DENSE; e <= REF_CACHE; e++) {
    if (!ref_applies(&w->variant, e, NULL)) continue;
    const double *o = run_engine(w, e);
    const double error = ref_relative_l2(o, expected, o_size(w));
    if (!(error <= REF_TOLERANCE)) fail_msg("engine %d: relative error %g", (int)e, error);
    n++;
  }
  assert_int_equal(n, engines);
}

mkc_status run_status(struct world *w, enum ref_engine engine, const char *message) {
  struct error err = {0};
  double *o = arena_array(&w->arena, double, 4096);
  w->call.o = o;
  const mkc_status status = ref_run(&w->variant, engine, &w->call, &err);
  if (status) assert_contains(error_text(&err), message);
  error_finish(&err);
  return status;
}

struct world *mlstm_create(void) {
  struct world *w = world_create();
  w->branch.log_write = input(w, "i", AXIS_NONE);
  w->branch.k_rest = w->branch.k;
  w->branch.k = times(w, unary(w, OP_EXP, w->branch.log_write), w->branch.k);
  const struct expr *f = input(w, "f", AXIS_NONE);
  add_decay(w, unary(w, OP_NEG, unary(w, OP_SOFTPLUS, unary(w, OP_NEG, f))));
  const struct expr *rowsum = unary(w, OP_ABS, symbol(w, SYM_ROWSUM));
  w->variant.normaliser = binary(w, OP_MAX, rowsum, number(w, 1));
  draw_all(w);
  return w;
}

/* ---- by hand: pieces ---- */

void write_state(struct hand *s, const double *k, const double *v, double gain) {
  for (int i = 0; i < DK; i++) {
    for (int j = 0; j < DV; j++) s->S[i][j] += gain * k[i] * v[j];
  }
}

void scale_rows(struct hand *s, double w) {
  for (int i = 0; i < DK; i++) {
    for (int j = 0; j < DV; j++) s->S[i][j] *= w;
  }
}

void read_state(const struct hand *s, const double *q, double scale, double *o) {
  for (int j = 0; j < DV; j++) {
    o[j] = 0;
    for (int i = 0; i < DK; i++) o[j] += scale * q[i] * s->S[i][j];
  }
}

void delta_step(struct hand *s, const double *k, const double *v, double beta) {
  for (int j = 0; j < DV; j++) {
    double seen = 0;
    for (int i = 0; i < DK; i++) seen += s->S[i][j] * k[i];
    for (int i = 0; i < DK; i++) s->S[i][j] += beta * k[i] * (v[j] - seen);
  }
}

void normalised(const double *k, double *out) {
  double sum = 0;
  for (int i = 0; i < DK; i++) sum += k[i] * k[i];
  for (int i = 0; i < DK; i++) out[i] = k[i] / sqrt(sum + 1e-6);
}

double dot(const double *x, const double *y) {
  double sum = 0;
  for (int i = 0; i < DK; i++) sum += x[i] * y[i];
  return sum;
}

double logistic(double x) {
  return 1 / (1 + exp(-x));
}
