/* SPDX-License-Identifier: MIT
 * mask_weights.c - see mask_weights.h. Asks the reference for O = (A * M) V with interactions and
 * values that leave the weights bare: q = 1 and k = 1/dk, so that A is the product of the decays,
 * and V = I, so that O is A * M itself.
 */
#include "mask_weights.h"

#include "../ref.h"

#include <math.h>
#include <string.h>

enum { CHANNELS = 16 };

/* The variant that is asked, and its arrays. */
struct bare {
  struct arena *arena;
  struct variant variant;
  struct branch branch;
  struct factor *factors;
  const struct leaf **leaves;
  struct ref_array *arrays;
  unsigned next_id; /* above every id in use */
  const char *note;
};

/* ---- ids ---- */

static void count_id(struct bare *b, const struct expr *e) {
  if (e && e->id >= b->next_id) b->next_id = e->id + 1;
}

static void count_weight_ids(struct bare *b, const struct weight *w) {
  if (!w) return;
  count_id(b, w->expr);
  count_id(b, w->log);
  count_weight_ids(b, w->arg[0]);
  count_weight_ids(b, w->arg[1]);
}

/* ---- building it ---- */

static const struct expr *new_expr(struct bare *b, struct expr e) {
  struct expr *x = arena_new(b->arena, struct expr);
  *x = e;
  x->id = b->next_id++;
  x->width = 1;
  x->size = 1;
  x->line = b->variant.line;
  return x;
}

/* An input of its own: heads 1, the same for every token unless data says otherwise. */
static const struct expr *new_input(struct bare *b, const char *name, enum axis axis,
                                    const double *data) {
  const int index = b->variant.nleaves++;
  struct leaf *leaf = arena_new(b->arena, struct leaf);
  *leaf =
      (struct leaf){.name = name, .axis = axis, .min = -INFINITY, .max = INFINITY, .index = index};
  b->leaves[index] = leaf;
  b->arrays[index] = (struct ref_array){data, 1};
  return new_expr(b, (struct expr){.op = OP_INPUT,
                                   .axis = axis,
                                   .token = true,
                                   .leaf = leaf,
                                   .lo = -INFINITY,
                                   .hi = INFINITY});
}

static const double *filled(struct arena *a, size_t n, double value) {
  double *x = arena_array(a, double, n);
  for (size_t i = 0; i < n; i++) x[i] = value;
  return x;
}

static const double *identity_matrix(struct arena *a, int n) {
  double *x = arena_array(a, double, (size_t)n *(size_t)n);
  for (int i = 0; i < n; i++) x[i * n + i] = 1;
  return x;
}

/* Of the transition only the decays that scale a whole row of the state stay. */
static void keep_decays(struct bare *b, const struct branch *from) {
  b->factors = arena_array(b->arena, struct factor, from->nfactors + 1);
  int n = 0;
  for (int i = 0; i < from->nfactors; i++) {
    const struct factor *f = &from->factors[i];
    if (f->kind != FACTOR_DECAY || f->nlow > 0) b->note = "low-rank steps are left out";
    if (f->right) b->note = "decays over dv are left out";
    if (!f->log || f->right) continue;
    b->factors[n] = (struct factor){
        .kind = FACTOR_DECAY, .diag = f->diag, .log = f->log, .step = false, .line = f->line};
    count_id(b, f->log);
    n++;
  }
  b->branch.nfactors = n;
  b->branch.factors = b->factors;
}

static void build_branch(struct bare *b, const struct branch *from, int tokens) {
  struct arena *a = b->arena;
  b->branch = (struct branch){.degree = 1,
                              .linear = true,
                              .read_before = from->read_before,
                              .causal = from->causal,
                              .nweights = from->nweights,
                              .weights = from->weights,
                              .decay = from->decay,
                              .fenwick = from->fenwick,
                              .line = from->line};
  keep_decays(b, from);
  for (int i = 0; i < from->nweights; i++) count_weight_ids(b, &from->weights[i]);
  const size_t n = (size_t)tokens * CHANNELS;
  b->branch.q = new_input(b, "q", AXIS_DK, filled(a, n, 1.0));
  b->branch.k = new_input(b, "k", AXIS_DK, filled(a, n, 1.0 / CHANNELS));
  b->branch.v = new_input(b, "v", AXIS_DV, identity_matrix(a, tokens));
  b->branch.scale = new_expr(b, (struct expr){.op = OP_CONST, .value = 1, .lo = 1, .hi = 1});
  b->branch.score = new_expr(
      b, (struct expr){
             .op = OP_SYMBOL, .symbol = SYM_QK, .token = true, .lo = -INFINITY, .hi = INFINITY});
}

static int axis_size(enum axis axis, const struct ref_call *call) {
  switch (axis) {
  case AXIS_DK: return call->dk;
  case AXIS_DV: return call->dv;
  case AXIS_LEVELS: return call->levels;
  case AXIS_TAPS: return call->taps;
  case AXIS_NONE: break;
  }
  return 1;
}

/* Gates of every head; inputs [1,T,H,(axis)], params [H,(axis)]. */
static void draw_leaves(struct bare *b, const struct variant *v, const struct ref_call *call,
                        uint64_t seed) {
  for (int i = 0; i < v->nleaves; i++) {
    const struct leaf *leaf = v->leaves[i];
    const int64_t rows = leaf->param ? 1 : call->T;
    const size_t n = (size_t)(rows * call->H * axis_size(leaf->axis, call));
    double *data = arena_array(b->arena, double, n);
    ref_draw(leaf, seed + (uint64_t)i, data, n);
    b->leaves[i] = leaf;
    b->arrays[i] = (struct ref_array){data, call->H};
  }
}

mkc_status mask_weights(struct arena *a, const struct variant *v,
                        const struct mask_request *request, double *weights, const char **ret_note,
                        struct error *err) {
  const int T = request->tokens;
  struct bare b = {.arena = a, .variant = *v};
  b.leaves = arena_array(a, const struct leaf *, v->nleaves + 3);
  b.arrays = arena_array(a, struct ref_array, v->nleaves + 3);
  b.variant.leaves = b.leaves;
  b.variant.steps = NULL;
  b.variant.normaliser = b.variant.output = NULL;
  b.variant.nbranches = 1;
  b.variant.branches = &b.branch;
  if (v->nbranches > 1) b.note = "only the first branch is drawn";
  struct ref_call call = {.B = 1,
                          .T = T,
                          .H = request->heads,
                          .dk = CHANNELS,
                          .dv = T,
                          .levels = 1,
                          .taps = T,
                          .chunk = T};
  for (int n = T; n > 0; n /= 2) call.levels++;
  draw_leaves(&b, v, &call, request->seed);
  build_branch(&b, &v->branches[0], T);
  call.arrays = b.arrays;
  const size_t heads = (size_t)request->heads;
  double *o = call.o = arena_array(a, double, (size_t)T *heads *(size_t)T);
  const mkc_status status = ref_run(&b.variant, REF_DENSE, &call, err);
  if (status) return status;
  for (int t = 0; t < T; t++)
    memcpy(weights + (size_t)t * T, o + ((size_t)t * heads + (size_t)request->head) * (size_t)T,
           sizeof *o * (size_t)T);
  *ret_note = b.note;
  return MKC_OK;
}
