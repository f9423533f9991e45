/* SPDX-License-Identifier: MIT
 * step_program.c - a branch as a list of operations on the state, see schedule_step.h.
 *
 * In: a branch with a linear score and no mask but decays and fenwick. Out: the operations of one
 * token in the order of the spec language: decays of the mask, factors of the transition, write,
 * read. Decays that follow each other become one; an erase along k joins the write, as
 * S + k (v + c r)' does both. Under fenwick they are those on the state of each level, but for the
 * write; there the weights of the levels have the scale.
 */
#include "schedule_step.h"

struct builder {
  struct step_program *p;
  struct step_scalar scalar; /* decays since the last other operation */
  struct step_vectors row, column;
  int pending; /* an ADD that the write may join; -1: none */
  bool full;
};

/* ---- values ---- */

static void add_term(struct builder *b, struct step_scalar *v, const struct expr *e, bool inverse) {
  if (v->n < STEP_MAX_TERMS)
    v->terms[v->n++] = (struct expr_term){e, inverse};
  else
    b->full = true;
}

static bool same_scalar(const struct step_scalar *x, const struct step_scalar *y) {
  bool same = x->n == y->n;
  for (int i = 0; same && i < x->n; i++)
    same = x->terms[i].e == y->terms[i].e && x->terms[i].inverse == y->terms[i].inverse;
  return same;
}

/* The value's place in the list; equal values share one. */
static int add_scalar(struct builder *b, const struct step_scalar *v) {
  struct step_scalars *list = &b->p->scalars;
  for (int i = 0; i < list->n; i++)
    if (same_scalar(&list->at[i], v)) return i;
  if (list->n == STEP_MAX_VALUES) return b->full = true, 0;
  list->at[list->n] = *v;
  return list->n++;
}

static int add_vector(struct builder *b, struct step_vectors *list, const struct expr *e) {
  for (int i = 0; i < list->n; i++)
    if (list->at[i] == e) return i;
  if (list->n == STEP_MAX_VALUES) return b->full = true, 0;
  list->at[list->n] = e;
  return list->n++;
}

static struct step_op *add_op(struct builder *b, enum step_kind kind, int value) {
  struct step_program *p = b->p;
  if (p->nops == STEP_MAX_OPS) {
    b->full = true;
    p->nops = 0; /* never read: the program is refused */
  }
  p->ops[p->nops] = (struct step_op){.kind = kind, .value = value};
  return &p->ops[p->nops++];
}

/* ---- decays ---- */

/* A decay that is listed twice acts twice. */
static void add_decay(struct builder *b, const struct expr *w) {
  struct step_vectors *list = w->axis == AXIS_DK ? &b->row : &b->column;
  if (!w->axis)
    add_term(b, &b->scalar, w, false);
  else if (list->n == STEP_MAX_VALUES)
    b->full = true;
  else
    list->at[list->n++] = w;
}

static void flush_decays(struct builder *b) {
  struct step_program *p = b->p;
  const int before = p->nops;
  if (b->scalar.n) add_op(b, STEP_SCALE, add_scalar(b, &b->scalar));
  for (int i = 0; i < b->row.n; i++)
    add_op(b, STEP_SCALE_DK, add_vector(b, &p->rows, b->row.at[i]));
  for (int i = 0; i < b->column.n; i++)
    add_op(b, STEP_SCALE_DV, add_vector(b, &p->columns, b->column.at[i]));
  if (p->nops != before) b->pending = -1;
  b->scalar.n = b->row.n = b->column.n = 0;
}

/* ---- low rank ---- */

struct multiple { /* +-scalars * k */
  struct step_scalar scalars;
  bool minus;
};

/* x is k times scalars of a token, by structure: -(beta * k). */
static bool is_multiple(struct builder *b, const struct expr *x, const struct expr *k,
                        struct multiple *ret) {
  while (x != k) {
    const struct expr *y = x->arg[0], *z = x->arg[1];
    if (x->op == OP_NEG) {
      ret->minus = !ret->minus;
    } else if (x->op == OP_MUL && !y->axis) {
      add_term(b, &ret->scalars, y, false);
      y = z;
    } else if ((x->op == OP_MUL || x->op == OP_DIV) && !z->axis) {
      add_term(b, &ret->scalars, z, x->op == OP_DIV);
    } else {
      return false;
    }
    x = y;
  }
  return true;
}

/* S = S + row (+-scalars * r)', joined to the operation before where that adds along this row. */
static void add_erase(struct builder *b, int row, int projection, const struct multiple *c) {
  struct step_program *p = b->p;
  const bool joins = b->pending >= 0 && p->ops[b->pending].value == row;
  struct step_op *op = joins ? &p->ops[b->pending] : add_op(b, STEP_ADD, row);
  b->pending = (int)(op - p->ops);
  if (op->nsum == STEP_MAX_SUM) {
    b->full = true;
    return;
  }
  op->sum[op->nsum].projection = projection;
  op->sum[op->nsum].minus = c->minus;
  op->sum[op->nsum++].scalar = c->scalars.n ? add_scalar(b, &c->scalars) : -1;
}

static int project(struct builder *b, const struct expr *a) {
  add_op(b, STEP_PROJECT, add_vector(b, &b->p->rows, a));
  return b->p->nprojections++;
}

/* I - beta k k^T */
static void delta_factor(struct builder *b, const struct branch *branch, const struct factor *f) {
  struct multiple c = {.minus = true};
  flush_decays(b);
  b->pending = -1;
  const int r = project(b, branch->k);
  add_term(b, &c.scalars, f->beta, false);
  add_erase(b, b->p->k, r, &c);
}

/* diag(w) + sum of b a^T: every a reads the state before w and before every b. */
static void general_factor(struct builder *b, const struct branch *branch, const struct factor *f) {
  const int first = b->p->nprojections;
  if (f->nlow > 0) {
    flush_decays(b);
    b->pending = -1;
  }
  for (int i = 0; i < f->nlow; i++) project(b, f->low[i].a);
  if (f->diag) add_decay(b, f->diag);
  for (int i = 0; i < f->nlow; i++) {
    struct multiple c = {.minus = false};
    const bool along_k = is_multiple(b, f->low[i].b, branch->k, &c);
    if (!along_k) c = (struct multiple){.minus = false};
    flush_decays(b);
    add_erase(b, along_k ? b->p->k : add_vector(b, &b->p->rows, f->low[i].b), first + i, &c);
  }
}

/* ---- the whole ---- */

static void write_and_read(struct builder *b, const struct branch *branch) {
  struct step_program *p = b->p;
  flush_decays(b);
  if (b->pending < 0 || p->ops[b->pending].value != p->k)
    b->pending = (int)(add_op(b, STEP_ADD, p->k) - p->ops);
  p->ops[b->pending].writes = true;
  if (!branch->read_before) add_op(b, STEP_READ, p->q);
}

static void roles(struct builder *b, const struct branch *branch) {
  struct step_program *p = b->p;
  struct step_scalar scale = {.n = 0};
  p->q = add_vector(b, &p->rows, branch->q);
  p->k = add_vector(b, &p->rows, branch->k);
  add_vector(b, &p->columns, branch->v);
  add_term(b, &scale, branch->scale, false);
  const bool one = branch->scale->op == OP_CONST && branch->scale->value == 1;
  p->scale = one || branch->fenwick ? -1 : add_scalar(b, &scale);
}

bool step_program(const struct branch *branch, struct step_program *ret) {
  *ret = (struct step_program){.nops = 0};
  struct builder b = {.p = ret, .pending = -1};
  roles(&b, branch);
  for (int i = 0; i < branch->nweights; i++)
    if (branch->weights[i].kind == WEIGHT_DECAY) add_decay(&b, branch->weights[i].expr);
  if (branch->read_before) {
    flush_decays(&b);
    add_op(&b, STEP_READ, ret->q);
  }
  for (int i = 0; i < branch->nfactors; i++) {
    const struct factor *f = &branch->factors[i];
    if (f->kind == FACTOR_DELTA)
      delta_factor(&b, branch, f);
    else
      general_factor(&b, branch, f);
  }
  write_and_read(&b, branch);
  return !b.full;
}
