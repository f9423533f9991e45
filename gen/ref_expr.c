/* SPDX-License-Identifier: MIT
 * ref_expr.c - the values of a variant's expressions in float64.
 *
 * In: the variant's DAG and the call's arrays. Out: for one head, a [T][steps][width] value for
 * each node. Nodes have larger ids than their arguments, so one sweep in the order of ids computes
 * each node once, however often it is shared. Nodes above qk, rowsum or o wait in programs of
 * their own until an engine binds the symbol.
 */
#include "ref_internal.h"

#include <math.h>
#include <string.h>

/* ---- operations over channels ---- */

static double sum(const double *x, int n) {
  double s = 0;
  for (int i = 0; i < n; i++) s += x[i];
  return s;
}

static double sum_squares(const double *x, int n) {
  double s = 0;
  for (int i = 0; i < n; i++) s += x[i] * x[i];
  return s;
}

static void softmax(const double *x, int n, double *out) {
  double m = x[0];
  for (int i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
  for (int i = 0; i < n; i++) out[i] = exp(x[i] - m);
  const double s = sum(out, n);
  for (int i = 0; i < n; i++) out[i] /= s;
}

/* An operation over the n channels of one token. */
static void apply_row(const struct expr *e, const double *x, int n, double *out) {
  double norm = 1;
  switch (e->op) {
  case OP_SUM: out[0] = sum(x, n); return;
  case OP_SOFTMAX: softmax(x, n, out); return;
  case OP_L2NORM: norm = sqrt(sum_squares(x, n) + e->value); break;
  case OP_RMSNORM: norm = sqrt(sum_squares(x, n) / n + e->value); break;
  default: norm = NAN; break;
  }
  for (int i = 0; i < n; i++) out[i] = x[i] / norm;
}

static bool is_row_op(enum op op) {
  return op == OP_SUM || op == OP_L2NORM || op == OP_RMSNORM || op == OP_SOFTMAX;
}

static int arity(const struct expr *e) {
  return e->arg[0] ? (e->arg[1] ? 2 : 1) : 0;
}

/* ---- shapes ---- */

static int axis_size(const struct ref_call *c, enum axis axis) {
  switch (axis) {
  case AXIS_DK: return c->dk;
  case AXIS_DV: return c->dv;
  case AXIS_LEVELS: return c->levels;
  case AXIS_TAPS: return c->taps;
  case AXIS_NONE: break;
  }
  return 1;
}

static enum ref_late late_symbol(const struct expr *e) {
  if (e->op != OP_SYMBOL) return REF_EARLY;
  switch (e->symbol) {
  case SYM_QK: return REF_LATE_QK;
  case SYM_ROWSUM: return REF_LATE_ROWSUM;
  case SYM_O: return REF_LATE_O;
  default: return REF_EARLY;
  }
}

/* Sets T, steps and width from the arguments; false when they do not broadcast. */
static bool set_shape(const struct ref_eval *ev, struct ref_value *x) {
  const struct expr *e = x->expr;
  x->T = x->steps = x->width = 1;
  if (x->late && e->op == OP_SYMBOL) {
    x->T = ev->bound[x->late].T;
    x->width = ev->bound[x->late].width;
  } else if (e->op == OP_INPUT || e->op == OP_PARAM) {
    x->width = axis_size(ev->call, e->leaf->axis);
    if (e->op == OP_INPUT) x->T = ev->call->T;
    if (e->op == OP_INPUT && e->leaf->step) x->steps = ev->steps;
  }
  for (int i = 0; i < arity(e); i++) {
    const struct ref_value *y = ref_value(ev, e->arg[i]);
    if (y->T != 1 && x->T != 1 && y->T != x->T) return false;
    if (y->steps != 1 && x->steps != 1 && y->steps != x->steps) return false;
    if (e->op != OP_CONCAT && y->width != 1 && x->width != 1 && y->width != x->width) return false;
    if (y->T > x->T) x->T = y->T;
    if (y->steps > x->steps) x->steps = y->steps;
    if (y->width > x->width) x->width = y->width;
  }
  if (e->op == OP_SUM) x->width = 1;
  if (e->op == OP_CONCAT) {
    x->width = ref_value(ev, e->arg[0])->width + ref_value(ev, e->arg[1])->width;
  }
  return true;
}

/* ---- planning ---- */

static void visit_weight(const struct weight *w, ref_visit *visit, void *data) {
  if (w->expr) visit(data, w->expr);
  if (w->log) visit(data, w->log);
  for (int i = 0; i < 2; i++) {
    if (w->arg[i]) visit_weight(w->arg[i], visit, data);
  }
}

static void visit_branch(const struct branch *b, ref_visit *visit, void *data) {
  const struct expr *roots[] = {b->q, b->k, b->v, b->scale, b->score, b->log_write, b->k_rest};
  for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
    if (roots[i]) visit(data, roots[i]);
  }
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    if (f->log) visit(data, f->log);
    if (f->beta) visit(data, f->beta);
    for (int j = 0; j < f->nlow; j++) {
      visit(data, f->low[j].b);
      visit(data, f->low[j].a);
    }
  }
  for (int i = 0; i < b->nweights; i++) visit_weight(&b->weights[i], visit, data);
}

void ref_each_root(const struct variant *v, ref_visit *visit, void *data) {
  for (int i = 0; i < v->nbranches; i++) visit_branch(&v->branches[i], visit, data);
  if (v->normaliser) visit(data, v->normaliser);
  if (v->output) visit(data, v->output);
}

static void count_ids(void *data, const struct expr *e) {
  size_t *n = data;
  if (e->id >= *n) *n = (size_t)e->id + 1;
}

static void mark(void *data, const struct expr *e) {
  struct ref_value *values = data;
  values[e->id].expr = e;
}

/* Marks the arguments of what is marked, and notes which symbol each value waits for. */
static void mark_arguments(struct ref_eval *ev) {
  for (size_t i = ev->n; i-- > 0;) {
    const struct expr *e = ev->values[i].expr;
    for (int j = 0; e && j < arity(e); j++) mark(ev->values, e->arg[j]);
  }
  for (size_t i = 0; i < ev->n; i++) {
    struct ref_value *x = &ev->values[i];
    if (!x->expr) continue;
    x->late = late_symbol(x->expr);
    for (int j = 0; j < arity(x->expr); j++) {
      const enum ref_late late = ref_value(ev, x->expr->arg[j])->late;
      if (late) x->late = late;
    }
  }
}

/* The values of this class that root needs (NULL: all of the class), in the order of ids. */
static struct ref_program make_program(struct arena *a, struct ref_eval *ev, enum ref_late late,
                                       const struct expr *root) {
  bool *needed = arena_array(a, bool, ev->n);
  for (size_t i = ev->n; i-- > 0;) {
    const struct ref_value *x = &ev->values[i];
    if (!x->expr || x->late != late) continue;
    if (!root || x->expr == root) needed[i] = true;
    for (int j = 0; needed[i] && j < arity(x->expr); j++) needed[x->expr->arg[j]->id] = true;
  }
  struct ref_program p = {0, arena_array(a, struct ref_value *, ev->n)};
  for (size_t i = 0; i < ev->n; i++) {
    struct ref_value *x = &ev->values[i];
    if (needed[i] && x->late == late) p.values[p.n++] = x;
  }
  return p;
}

static mkc_status misfit(const struct ref_eval *ev, int line, struct error *err, const char *what) {
  return error_set(err, MKC_E_SPEC, "%s:%d: error: %s", ev->variant->path, line, what);
}

struct late_search {
  const struct ref_eval *ev;
  const struct expr *except;
  size_t found;
};

static void find_late(void *data, const struct expr *e) {
  struct late_search *search = data;
  if (e != search->except && ref_value(search->ev, e)->late) search->found++;
}

static bool late_is(const struct ref_eval *ev, const struct expr *e, enum ref_late late) {
  return !e || !ref_value(ev, e)->late || ref_value(ev, e)->late == late;
}

/* qk is known in the score only, rowsum in the normaliser, o in the output. */
static bool symbols_in_place(const struct ref_eval *ev) {
  const struct variant *v = ev->variant;
  for (size_t i = 0; i < ev->n; i++) {
    const struct ref_value *x = &ev->values[i];
    for (int j = 0; x->expr && j < arity(x->expr); j++) {
      const enum ref_late late = ref_value(ev, x->expr->arg[j])->late;
      if (late && late != x->late) return false;
    }
  }
  for (int i = 0; i < v->nbranches; i++) {
    struct late_search search = {ev, v->branches[i].score, 0};
    visit_branch(&v->branches[i], find_late, &search);
    if (search.found || ref_value(ev, search.except)->late > REF_LATE_QK) return false;
  }
  return late_is(ev, v->normaliser, REF_LATE_ROWSUM) && late_is(ev, v->output, REF_LATE_O);
}

static mkc_status allocate(struct arena *a, struct ref_eval *ev, const struct ref_program *p,
                           struct error *err) {
  for (size_t i = 0; i < p->n; i++) {
    struct ref_value *x = p->values[i];
    if (!set_shape(ev, x)) {
      return misfit(ev, x->expr->line, err, "the widths of the two operands do not fit");
    }
    x->data = ref_doubles(a, x->T * x->steps, x->width);
  }
  return MKC_OK;
}

int ref_rows(const struct ref_eval *ev, const struct branch *b) {
  const int q = ref_value(ev, b->q)->width, k = ref_value(ev, b->k)->width;
  return q > k ? q : k;
}

static bool fits(const struct ref_eval *ev, const struct expr *e, int width) {
  const int w = ref_value(ev, e)->width;
  return w == 1 || w == width;
}

static bool one_step(const struct ref_eval *ev, const struct expr *e) {
  return ref_value(ev, e)->steps == 1;
}

static mkc_status check_branch(const struct ref_eval *ev, const struct branch *b,
                               struct error *err) {
  const int K = ref_rows(ev, b);
  if (!fits(ev, b->q, K) || !fits(ev, b->k, K)) {
    return misfit(ev, b->line, err, "q and k have different widths");
  }
  if (!fits(ev, b->v, ev->V)) return misfit(ev, b->line, err, "v is not as wide as the output");
  if (!one_step(ev, b->q)) return misfit(ev, b->line, err, "q varies over the steps of a token");
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    bool fit = !f->log || fits(ev, f->log, f->right ? ev->V : K);
    for (int j = 0; j < f->nlow; j++) fit &= fits(ev, f->low[j].b, K) && fits(ev, f->low[j].a, K);
    if (!fit) return misfit(ev, f->line, err, "this factor is wider than the state, see q and k");
  }
  return MKC_OK;
}

static mkc_status check_late(const struct ref_eval *ev, struct error *err) {
  const struct variant *v = ev->variant;
  for (int i = 0; i < v->nbranches; i++) {
    const struct branch *b = &v->branches[i];
    const struct ref_program *p = &ev->score[i];
    bool token = ref_value(ev, b->score)->width != 1;
    for (size_t j = 0; j < p->n; j++) {
      for (int k = 0; k < arity(p->values[j]->expr); k++) {
        const struct ref_value *x = ref_value(ev, p->values[j]->expr->arg[k]);
        token |= !x->late && x->expr->token;
      }
    }
    if (token) return misfit(ev, b->line, err, "the score varies with something other than qk");
  }
  if (v->normaliser && (!one_step(ev, v->normaliser) || !fits(ev, v->normaliser, 1))) {
    return misfit(ev, v->line, err, "the normaliser is not one number a token");
  }
  if (v->output && (!one_step(ev, v->output) || !fits(ev, v->output, ev->V))) {
    return misfit(ev, v->line, err, "the output is not one dv-vector a token");
  }
  return MKC_OK;
}

/* The programs above qk, rowsum and o; V is known by now. */
static mkc_status plan_late(struct ref_eval *ev, struct arena *a, struct error *err) {
  const struct variant *v = ev->variant;
  const int64_t T = ev->call->T;
  ev->bound[REF_LATE_QK] = (struct ref_binding){.T = T * ev->steps, .width = 1};
  ev->bound[REF_LATE_ROWSUM] = (struct ref_binding){.T = T, .width = 1};
  ev->bound[REF_LATE_O] = (struct ref_binding){.T = T, .width = ev->V};
  const struct ref_program scores = make_program(a, ev, REF_LATE_QK, NULL);
  ev->score = arena_array(a, struct ref_program, v->nbranches);
  for (int i = 0; i < v->nbranches; i++) {
    ev->score[i] = make_program(a, ev, REF_LATE_QK, v->branches[i].score);
  }
  if (v->normaliser) ev->normaliser = make_program(a, ev, REF_LATE_ROWSUM, v->normaliser);
  if (v->output) ev->output = make_program(a, ev, REF_LATE_O, v->output);
  mkc_status status = allocate(a, ev, &scores, err);
  if (!status) status = allocate(a, ev, &ev->normaliser, err);
  if (!status) status = allocate(a, ev, &ev->output, err);
  return status ? status : check_late(ev, err);
}

mkc_status ref_eval_init(struct ref_eval *ev, struct arena *a, const struct variant *v,
                         const struct ref_call *call, struct error *err) {
  *ev = (struct ref_eval){.variant = v, .call = call, .V = 1};
  ev->steps = v->steps ? (int)v->steps->value : 1;
  ref_each_root(v, count_ids, &ev->n);
  ev->values = arena_array(a, struct ref_value, ev->n);
  ref_each_root(v, mark, ev->values);
  mark_arguments(ev);
  if (!symbols_in_place(ev)) {
    return misfit(ev, v->line, err, "qk, rowsum or o stands where it is not known");
  }
  ev->early = make_program(a, ev, REF_EARLY, NULL);
  mkc_status status = allocate(a, ev, &ev->early, err);
  if (status) return status;
  bool vector = false;
  for (int i = 0; i < v->nbranches; i++) {
    const struct expr *values = v->branches[i].v;
    const int width = ref_value(ev, values)->width;
    vector |= values->axis != AXIS_NONE;
    if (width > ev->V) ev->V = width;
  }
  if (!vector) ev->V = call->dv;
  for (int i = 0; i < v->nbranches && !status; i++) status = check_branch(ev, &v->branches[i], err);
  return status ? status : plan_late(ev, a, err);
}

/* ---- evaluation ---- */

/* The input is [B,T,(steps,)heads,(width)], a param [heads,(width)]. */
static void load_leaf(const struct ref_eval *ev, struct ref_value *x, int64_t b, int64_t h) {
  const struct ref_array *array = &ev->call->arrays[x->expr->leaf->index];
  const int64_t head = h * array->heads / ev->call->H;
  const int64_t rows = x->T * x->steps;
  const int64_t first = x->expr->op == OP_INPUT ? b * rows : 0;
  for (int64_t i = 0; i < rows; i++) {
    const double *from = array->data + ((first + i) * array->heads + head) * x->width;
    memcpy(x->data + i * x->width, from, sizeof(double) * (size_t)x->width);
  }
}

static void load_symbol(const struct ref_eval *ev, struct ref_value *x, int64_t h) {
  switch (x->expr->symbol) {
  case SYM_HEAD: x->data[0] = (double)h; break;
  case SYM_HEADS: x->data[0] = (double)ev->call->H; break;
  case SYM_DK: x->data[0] = ev->call->dk; break;
  case SYM_DV: x->data[0] = ev->call->dv; break;
  default: { /* qk, rowsum, o */
    const struct ref_binding *bound = &ev->bound[x->late];
    memcpy(x->data, bound->data, sizeof(double) * (size_t)(bound->T * bound->width));
  }
  }
}

static void apply_token(const struct ref_eval *ev, const struct ref_value *x, int64_t t, int step) {
  const struct expr *e = x->expr;
  double *out = x->data + (t * x->steps + step) * x->width;
  const struct ref_value *l = ref_value(ev, e->arg[0]);
  const struct ref_value *r = e->arg[1] ? ref_value(ev, e->arg[1]) : l;
  const double *a = ref_at(l, t, step), *b = ref_at(r, t, step);
  if (is_row_op(e->op)) {
    apply_row(e, a, l->width, out);
  } else if (e->op == OP_CONCAT) {
    memcpy(out, a, sizeof *out * (size_t)l->width);
    memcpy(out + l->width, b, sizeof *out * (size_t)r->width);
  } else {
    const int da = l->width > 1, db = r->width > 1;
    for (int i = 0; i < x->width; i++) out[i] = op_value(e->op, a[i * da], b[i * db]);
  }
}

static void evaluate(const struct ref_eval *ev, struct ref_value *x, int64_t b, int64_t h) {
  switch (x->expr->op) {
  case OP_CONST:
  case OP_OPTION: x->data[0] = x->expr->value; return;
  case OP_INPUT:
  case OP_PARAM: load_leaf(ev, x, b, h); return;
  case OP_SYMBOL: load_symbol(ev, x, h); return;
  default: break;
  }
  for (int64_t t = 0; t < x->T; t++) {
    for (int step = 0; step < x->steps; step++) apply_token(ev, x, t, step);
  }
}

void ref_eval_head(struct ref_eval *ev, int64_t b, int64_t h) {
  for (size_t i = 0; i < ev->early.n; i++) evaluate(ev, ev->early.values[i], b, h);
}

void ref_eval_late(struct ref_eval *ev, const struct ref_program *p, enum ref_late symbol,
                   struct ref_binding bound) {
  ev->bound[symbol] = bound;
  for (size_t i = 0; i < p->n; i++) {
    set_shape(ev, p->values[i]);
    evaluate(ev, p->values[i], 0, 0);
  }
}

/* ---- what engines read ---- */

void ref_vector(const struct ref_eval *ev, const struct expr *e, int64_t t, int step, int n,
                double *out) {
  const struct ref_value *x = ref_value(ev, e);
  const double *from = ref_at(x, t, step);
  const int stride = x->width > 1;
  for (int i = 0; i < n; i++) out[i] = from[i * stride];
}

int ref_nlow(const struct factor *f) {
  return f->kind == FACTOR_DELTA && f->nlow == 0 ? 1 : f->nlow;
}

void ref_low(const struct ref_eval *ev, const struct branch *br, const struct factor *f, int i,
             int64_t t, int step, int K, double *ret_b, double *ret_a) {
  if (f->nlow > 0) {
    ref_vector(ev, f->low[i].b, t, step, K, ret_b);
    ref_vector(ev, f->low[i].a, t, step, K, ret_a);
    return;
  }
  const double beta = ref_scalar(ev, f->beta, t, step);
  ref_vector(ev, br->k, t, step, K, ret_a);
  for (int r = 0; r < K; r++) ret_b[r] = -beta * ret_a[r];
}
