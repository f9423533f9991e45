/* SPDX-License-Identifier: MIT
 * expr_text.c - an expression as a spec would write it, with no more parentheses than it takes.
 */
#include "expr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *op_name(enum op op) {
  static const char *const names[] = {
#define OP(id, name, arity, cuda) name,
#include "ops.h"
#undef OP
  };
  return names[op];
}

const char *axis_name(enum axis axis) {
  static const char *const names[] = {"scalar", "dk", "dv", "levels", "taps"};
  return names[axis];
}

const char *symbol_name(enum symbol symbol) {
  static const char *const names[] = {"head", "heads", "dk", "dv", "qk", "rowsum", "o"};
  return names[symbol];
}

/* Binding strength, as in Lua: + - below * / below unary minus below ^ below everything else. */
enum { LOOSE, SUM, PRODUCT, UNARY, POWER, ATOM };

/* number^x was built as exp(log(number) * x); returns the number, or 0. */
static double base_of(const struct expr *e) {
  if (e->op != OP_EXP || e->arg[0]->op != OP_MUL || e->arg[0]->arg[0]->op != OP_CONST) return 0;
  const double l = e->arg[0]->arg[0]->value, base = nearbyint(exp(l) * 4) / 4;
  return base > 0 && base != 1 && log(base) == l ? base : 0;
}

static int strength(const struct expr *e) {
  switch (e->op) {
  case OP_ADD:
  case OP_SUB: return SUM;
  case OP_MUL:
  case OP_DIV: return PRODUCT;
  case OP_NEG: return UNARY;
  case OP_POW: return POWER;
  case OP_EXP: return base_of(e) > 0 ? POWER : ATOM;
  case OP_CONST: return e->value < 0 ? UNARY : ATOM;
  default: return ATOM;
  }
}

/* With the fewest digits that read back as the same number, but no exponent up to 1e6. */
static void put_number(struct buf *out, double x) {
  int digits = 1;
  for (double y = fabs(x); y >= 10 && y < 1e7 && digits < 7; y /= 10) digits++;
  for (; digits < 17; digits++) {
    char text[40];
    snprintf(text, sizeof text, "%.*g", digits, x);
    if (strtod(text, NULL) == x) break;
  }
  buf_number(out, x, digits);
}

static void put(struct buf *out, const struct expr *e, int least);

static void put_binary(struct buf *out, const struct expr *e) {
  const int s = strength(e);
  put(out, e->arg[0], s);
  buf_printf(out, " %s ", op_name(e->op));
  put(out, e->arg[1], s + 1);
}

/* Lua binds the exponent's own minus: dk^-0.5 */
static void put_exponent(struct buf *out, const struct expr *e) {
  put(out, e, strength(e) == UNARY && e->op == OP_CONST ? UNARY : POWER);
}

static void put_call(struct buf *out, const struct expr *e) {
  buf_printf(out, "%s(", op_name(e->op));
  for (int i = 0; i < 2 && e->arg[i]; i++) {
    if (i) buf_puts(out, ", ");
    put(out, e->arg[i], LOOSE);
  }
  const bool odd_eps =
      (e->op == OP_L2NORM && e->value != 1e-6) || (e->op == OP_RMSNORM && e->value != 1e-5);
  if (odd_eps) {
    buf_puts(out, ", ");
    put_number(out, e->value);
  }
  buf_puts(out, ")");
}

static void put_bare(struct buf *out, const struct expr *e) {
  switch (e->op) {
  case OP_CONST: put_number(out, e->value); return;
  case OP_OPTION: buf_puts(out, e->option); return;
  case OP_INPUT:
  case OP_PARAM: buf_puts(out, e->leaf->name); return;
  case OP_SYMBOL: buf_puts(out, symbol_name(e->symbol)); return;
  case OP_ADD:
  case OP_SUB:
  case OP_MUL:
  case OP_DIV: put_binary(out, e); return;
  case OP_NEG: /* "--" would start a comment */
    buf_puts(out, "-");
    put(out, e->arg[0], UNARY + 1);
    return;
  case OP_POW:
    put(out, e->arg[0], POWER + 1);
    buf_puts(out, "^");
    put_exponent(out, e->arg[1]);
    return;
  case OP_EXP:
    if (base_of(e) == 0) break;
    put_number(out, base_of(e));
    buf_puts(out, "^");
    put_exponent(out, e->arg[0]->arg[1]);
    return;
  default: break;
  }
  put_call(out, e);
}

/* Puts parentheses around what binds less than `least`. */
static void put(struct buf *out, const struct expr *e, int least) {
  const bool open = strength(e) < least;
  if (open) buf_puts(out, "(");
  put_bare(out, e);
  if (open) buf_puts(out, ")");
}

void expr_print(struct buf *out, const struct expr *e) {
  put(out, e, LOOSE);
}

/* ---- for messages ---- */

const char *expr_text(struct expr_ctx *c, const struct expr *e) {
  enum { MAX = 120 };
  c->scratch.len = 0;
  expr_print(&c->scratch, e);
  const char *s = buf_text(&c->scratch);
  return strlen(s) > MAX ? arena_printf(c->arena, "%.*s...", MAX, s) : arena_strdup(c->arena, s);
}

const char *expr_shape(struct expr_ctx *c, const struct expr *e) {
  if (!e->axis) return "a scalar";
  if (e->width > 1)
    return arena_printf(c->arena, "a vector of %d %s", e->width, axis_name(e->axis));
  return arena_printf(c->arena, "a %s-vector", axis_name(e->axis));
}

const char *expr_word(const struct expr *e) {
  if (!e) return NULL;
  if (e->leaf) return e->leaf->name;
  if (e->op == OP_OPTION) return e->option;
  if (e->op == OP_SYMBOL) return symbol_name(e->symbol);
  const char *word = expr_word(e->arg[0]);
  return word ? word : expr_word(e->arg[1]);
}
