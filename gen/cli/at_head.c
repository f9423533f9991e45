/* SPDX-License-Identifier: MIT
 * at_head.c - see at_head.h. Copies the DAG node by node; equal nodes stay shared, and every copy
 * keeps its id, so arguments still have smaller ones.
 */
#include "at_head.h"

struct substitution {
  struct arena *arena;
  const struct expr **done; /* by id; NULL: not copied yet */
  unsigned count;
  int64_t head, heads;
};

/* ---- the largest id ---- */

static void count_expr(struct substitution *s, const struct expr *e) {
  if (e && e->id >= s->count) s->count = e->id + 1;
}

static void count_weight(struct substitution *s, const struct weight *w) {
  count_expr(s, w->expr);
  count_expr(s, w->log);
  for (int i = 0; i < 2; i++)
    if (w->arg[i]) count_weight(s, w->arg[i]);
}

static void count_branch(struct substitution *s, const struct branch *b) {
  const struct expr *const roots[] = {b->q,     b->k,         b->v,     b->scale,
                                      b->score, b->log_write, b->k_rest};
  for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) count_expr(s, roots[i]);
  for (int i = 0; i < b->nfactors; i++) {
    const struct factor *f = &b->factors[i];
    count_expr(s, f->diag);
    count_expr(s, f->log);
    count_expr(s, f->beta);
    for (int j = 0; j < f->nlow; j++) {
      count_expr(s, f->low[j].a);
      count_expr(s, f->low[j].b);
    }
  }
  for (int i = 0; i < b->nweights; i++) count_weight(s, &b->weights[i]);
}

/* ---- copies ---- */

static const struct expr *copy_expr(struct substitution *s, const struct expr *e) {
  if (!e) return NULL;
  if (s->done[e->id]) return s->done[e->id];
  struct expr *x = arena_new(s->arena, struct expr);
  *x = *e;
  if (e->op == OP_SYMBOL && (e->symbol == SYM_HEAD || e->symbol == SYM_HEADS)) {
    x->op = OP_CONST;
    x->value = x->lo = x->hi = (double)(e->symbol == SYM_HEAD ? s->head : s->heads);
  }
  x->arg[0] = copy_expr(s, e->arg[0]);
  x->arg[1] = copy_expr(s, e->arg[1]);
  s->done[e->id] = x;
  return x;
}

static void copy_weight(struct substitution *s, const struct weight *from, struct weight *to) {
  *to = *from;
  to->expr = copy_expr(s, from->expr);
  to->log = copy_expr(s, from->log);
  for (int i = 0; i < 2; i++) {
    if (!from->arg[i]) continue;
    struct weight *arg = arena_new(s->arena, struct weight);
    copy_weight(s, from->arg[i], arg);
    to->arg[i] = arg;
  }
}

static void copy_factor(struct substitution *s, const struct factor *from, struct factor *to) {
  struct lowrank *low = arena_array(s->arena, struct lowrank, from->nlow + 1);
  *to = *from;
  to->diag = copy_expr(s, from->diag);
  to->log = copy_expr(s, from->log);
  to->beta = copy_expr(s, from->beta);
  to->low = low;
  for (int i = 0; i < from->nlow; i++) {
    low[i].b = copy_expr(s, from->low[i].b);
    low[i].a = copy_expr(s, from->low[i].a);
  }
}

static void copy_branch(struct substitution *s, const struct branch *from, struct branch *to) {
  struct factor *factors = arena_array(s->arena, struct factor, from->nfactors + 1);
  struct weight *weights = arena_array(s->arena, struct weight, from->nweights + 1);
  *to = *from;
  to->q = copy_expr(s, from->q);
  to->k = copy_expr(s, from->k);
  to->v = copy_expr(s, from->v);
  to->scale = copy_expr(s, from->scale);
  to->score = copy_expr(s, from->score);
  to->log_write = copy_expr(s, from->log_write);
  to->k_rest = copy_expr(s, from->k_rest);
  for (int i = 0; i < from->nfactors; i++) copy_factor(s, &from->factors[i], &factors[i]);
  for (int i = 0; i < from->nweights; i++) copy_weight(s, &from->weights[i], &weights[i]);
  to->factors = factors;
  to->weights = weights;
}

const struct variant *variant_at_head(struct arena *a, const struct variant *v, int64_t head,
                                      int64_t heads) {
  struct substitution s = {.arena = a, .head = head, .heads = heads};
  for (int i = 0; i < v->nbranches; i++) count_branch(&s, &v->branches[i]);
  count_expr(&s, v->normaliser);
  count_expr(&s, v->output);
  s.done = arena_array(a, const struct expr *, s.count);
  struct variant *x = arena_new(a, struct variant);
  struct branch *branches = arena_array(a, struct branch, v->nbranches);
  *x = *v;
  for (int i = 0; i < v->nbranches; i++) copy_branch(&s, &v->branches[i], &branches[i]);
  x->branches = branches;
  x->normaliser = copy_expr(&s, v->normaliser);
  x->output = copy_expr(&s, v->output);
  return x;
}
