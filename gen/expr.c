/* SPDX-License-Identifier: MIT
 * expr.c - constructors of expressions: shapes, folding of numbers, sharing of equal nodes.
 *
 * A constructor fills a node on the stack, and intern() looks for an equal one before it is copied
 * to the arena. Arguments are shared already, so that equality is that of pointers.
 */
#include "expr.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

void expr_ctx_init(struct expr_ctx *c, struct arena *a, struct diag *d) {
  *c = (struct expr_ctx){.arena = a, .diag = d, .nslots = 128};
  c->slots = arena_array(a, const struct expr *, c->nslots);
}

void expr_ctx_finish(struct expr_ctx *c) {
  buf_finish(&c->scratch);
}

/* ---- sharing ---- */

static uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}

static uint64_t bits(double x) {
  uint64_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static uint64_t hash(const struct expr *e) {
  uint64_t h = mix(e->op, bits(e->value));
  for (int i = 0; i < 2; i++) h = mix(h, e->arg[i] ? e->arg[i]->id + 1 : 0);
  h = mix(h, e->symbol);
  for (const char *s = e->option; s && *s; s++) h = mix(h, (unsigned char)*s);
  for (const char *s = e->leaf ? e->leaf->name : NULL; s && *s; s++) h = mix(h, (unsigned char)*s);
  return h;
}

static bool equal(const struct expr *a, const struct expr *b) {
  return a->op == b->op && bits(a->value) == bits(b->value) && a->arg[0] == b->arg[0] &&
         a->arg[1] == b->arg[1] && a->symbol == b->symbol && a->leaf == b->leaf &&
         (a->option == b->option || (a->option && b->option && strcmp(a->option, b->option) == 0));
}

/* The slot that holds an equal node, or the empty one where it goes. */
static const struct expr **find_slot(const struct expr_ctx *c, const struct expr *e) {
  size_t i = hash(e) & (c->nslots - 1);
  while (c->slots[i] && !equal(c->slots[i], e)) i = (i + 1) & (c->nslots - 1);
  return &c->slots[i];
}

static void grow(struct expr_ctx *c) {
  const struct expr **old = c->slots;
  const size_t n = c->nslots;
  c->nslots *= 2;
  c->slots = arena_array(c->arena, const struct expr *, c->nslots);
  for (size_t i = 0; i < n; i++)
    if (old[i]) *find_slot(c, old[i]) = old[i];
}

static const struct expr *intern(struct expr_ctx *c, struct expr *e) {
  e->size = 1;
  for (int i = 0; i < 2; i++) e->size += e->arg[i] ? e->arg[i]->size : 0;
  if (e->size > EXPR_MAX_TERMS) {
    diag_error(c->diag, op_name(e->op), "an expression of more than %d terms", EXPR_MAX_TERMS);
    diag_note(c->diag, "a local that is used twice counts twice");
    return NULL;
  }
  if (c->built++ > EXPR_MAX_BUILT) {
    diag_error(c->diag, NULL, "a spec with more than %d operations", EXPR_MAX_BUILT);
    return NULL;
  }
  const struct expr **slot = find_slot(c, e), *known = *slot;
  if (known) return known;
  if (4 * c->nnodes > 3 * c->nslots) {
    grow(c);
    slot = find_slot(c, e);
  }
  expr_bounds(e);
  e->line = c->line;
  e->id = (unsigned)c->nnodes++;
  struct expr *node = arena_new(c->arena, struct expr);
  *node = *e;
  return *slot = node;
}

/* ---- leaves and symbols ---- */

const struct expr *expr_const(struct expr_ctx *c, double value) {
  if (!(fabs(value) <= (double)FLT_MAX)) {
    if (isnan(value))
      diag_error(c->diag, NULL, "not a number (0/0 or the like) in an expression");
    else
      diag_error(c->diag, NULL, "a number beyond 3.4e38, which fp32 cannot hold");
    return NULL;
  }
  struct expr e = {.op = OP_CONST, .width = 1, .value = value == 0 ? 0 : value};
  return intern(c, &e);
}

const struct expr *expr_option(struct expr_ctx *c, const char *name, double value) {
  struct expr e = {.op = OP_OPTION, .width = 1, .value = value, .option = name};
  return intern(c, &e);
}

const struct expr *expr_symbol(struct expr_ctx *c, enum symbol symbol) {
  struct expr e = {.op = OP_SYMBOL, .width = 1, .symbol = symbol};
  e.token = symbol == SYM_QK || symbol == SYM_ROWSUM || symbol == SYM_O;
  if (symbol == SYM_O) e.axis = AXIS_DV;
  return intern(c, &e);
}

const struct expr *expr_leaf(struct expr_ctx *c, const struct leaf *leaf) {
  struct expr e = {.op = leaf->param ? OP_PARAM : OP_INPUT, .width = 1, .leaf = leaf};
  e.axis = leaf->axis;
  e.token = !leaf->param;
  e.step = leaf->step;
  return intern(c, &e);
}

/* ---- operations ---- */

static bool is_number(const struct expr *e) {
  return e->op == OP_CONST;
}

/* The value of an operation on numbers, as a number. */
static const struct expr *fold(struct expr_ctx *c, enum op op, const struct expr *a,
                               const struct expr *b) {
  const double x = op_value(op, a->value, b ? b->value : 0);
  if (fabs(x) <= (double)FLT_MAX) return expr_const(c, x);
  struct expr e = {.op = op, .arg = {a, b}};
  diag_error(c->diag, op_name(op), "%s is %s, which is no number that fp32 can hold",
             expr_text(c, &e),
             isnan(x) ? "not a number"
             : x < 0  ? "-inf"
                      : "too large");
  return NULL;
}

/* Takes over the axis, width and what the value varies with. */
static void take_shape(struct expr *e, const struct expr *a) {
  if (a->axis != AXIS_NONE) {
    e->axis = a->axis;
    e->width = a->width;
  }
  e->token |= a->token;
  e->step |= a->step;
}

/* The two broadcast: one is a scalar, or both are vectors of the same axis and width. */
static bool join(struct expr_ctx *c, struct expr *e) {
  const struct expr *a = e->arg[0], *b = e->arg[1];
  if (a->axis && b->axis && (a->axis != b->axis || a->width != b->width)) {
    diag_error(c->diag, op_name(e->op), "'%s': %s (%s) meets %s (%s)", op_name(e->op),
               expr_shape(c, a), expr_text(c, a), expr_shape(c, b), expr_text(c, b));
    diag_note(c->diag, "a scalar goes with anything, a vector only with vectors of its own axis");
    if (!c->diag->before) c->diag->before = expr_word(b);
    return false;
  }
  e->width = 1;
  take_shape(e, a);
  take_shape(e, b);
  return true;
}

const struct expr *expr_unary(struct expr_ctx *c, enum op op, const struct expr *a) {
  if (!a) return NULL;
  if (is_number(a)) return fold(c, op, a, NULL);
  if (op == OP_NEG && a->op == OP_NEG) return a->arg[0];
  struct expr e = {.op = op, .width = 1, .arg = {a}};
  take_shape(&e, a);
  return intern(c, &e);
}

static const struct expr *power(struct expr_ctx *c, const struct expr *a, const struct expr *b) {
  if (is_number(b) || b->op == OP_OPTION) {
    struct expr e = {.op = OP_POW, .width = 1, .arg = {a, b}};
    take_shape(&e, a);
    return intern(c, &e);
  }
  const struct expr as_written = {.op = OP_POW, .arg = {a, b}};
  if (!is_number(a)) {
    diag_error(c->diag, "^", "'^': the exponent must be a number, or the base must be; not %s",
               expr_text(c, &as_written));
    diag_note(c->diag, "x^y of a positive x is exp(y * log(x))");
    return NULL;
  }
  if (a->value <= 0) {
    diag_error(c->diag, "^", "'^': the base of %s must be positive", expr_text(c, &as_written));
    return NULL;
  }
  return expr_unary(c, OP_EXP, expr_binary(c, OP_MUL, expr_const(c, log(a->value)), b));
}

static const struct expr *concat(struct expr_ctx *c, const struct expr *a, const struct expr *b) {
  struct expr e = {.op = OP_CONCAT, .arg = {a, b}};
  if (!a->axis || a->axis != b->axis) {
    diag_error(c->diag, "concat",
               "concat joins two vectors over the same axis; %s is %s and %s is %s",
               expr_text(c, a), expr_shape(c, a), expr_text(c, b), expr_shape(c, b));
    return NULL;
  }
  take_shape(&e, a);
  take_shape(&e, b);
  e.width = a->width + b->width;
  return intern(c, &e);
}

const struct expr *expr_binary(struct expr_ctx *c, enum op op, const struct expr *a,
                               const struct expr *b) {
  if (!a || !b) return NULL;
  if (op == OP_CONCAT) return concat(c, a, b);
  if (is_number(a) && is_number(b)) return fold(c, op, a, b);
  if (op == OP_POW) return power(c, a, b);
  struct expr e = {.op = op, .arg = {a, b}};
  return join(c, &e) ? intern(c, &e) : NULL;
}

const struct expr *expr_row(struct expr_ctx *c, enum op op, const struct expr *a, double eps) {
  if (!a) return NULL;
  if (!a->axis) {
    diag_error(c->diag, op_name(op), "%s runs over the channels of a vector; %s is a scalar",
               op_name(op), expr_text(c, a));
    return NULL;
  }
  struct expr e = {.op = op, .width = 1, .arg = {a}};
  take_shape(&e, a);
  if (op == OP_SUM) {
    e.axis = AXIS_NONE;
    e.width = 1;
  }
  if (op == OP_L2NORM) e.value = eps > 0 ? eps : 1e-6;
  if (op == OP_RMSNORM) e.value = eps > 0 ? eps : 1e-5;
  return intern(c, &e);
}
