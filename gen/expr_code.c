/* SPDX-License-Identifier: MIT
 * expr_code.c - an expression of the IR as C text in fp32. The only printer of kernel operators;
 * how each is spelled stands in ops.h.
 *
 * Shared nodes become named steps, so that the text is as small as the DAG:
 *
 *   local dt = softplus(input "dt" + param "b")     const float e5 = tile_softplus(gate.in_dt +
 * ...); decay(exp(-dt) * exp(-dt * dt))          ->     -e5 + -(e5 * e5)
 */
#include "emit.h"

#include <math.h>
#include <string.h>

struct printer {
  const struct gen_config *config;
  struct expr_code *code;
  unsigned *uses; /* by node id: how many parents print it */
  bool *done;     /* by node id: its step is printed */
};

/* How tightly the text of a node binds, to print only the parentheses it needs. */
enum { TERM = 1, PRODUCT = 2, UNARY = 3, ATOM = 4 };

static int binding(enum op op) {
  switch (op) {
  case OP_ADD:
  case OP_SUB: return TERM;
  case OP_MUL:
  case OP_DIV: return PRODUCT;
  case OP_NEG: return UNARY;
  default: return ATOM;
  }
}

static int arity(const struct expr *e) {
  return e->arg[1] ? 2 : e->arg[0] ? 1 : 0;
}

static const char *spelling(enum op op) {
  static const char *const text[] = {
#define OP(id, name, arity, cuda) cuda,
#include "ops.h"
#undef OP
  };
  return text[op];
}

static const char *name_of(enum op op) {
  static const char *const text[] = {
#define OP(id, name, arity, cuda) name,
#include "ops.h"
#undef OP
  };
  return text[op];
}

const char *expr_not_emitted(const struct expr *e) {
  if (!e) return NULL;
  if (e->axis != AXIS_NONE) return "a value over channels";
  if (e->step) return "a value over steps";
  if (e->op == OP_SYMBOL && e->symbol >= SYM_QK) return "a symbol of another slot";
  if (arity(e) > 0 && !spelling(e->op)) return name_of(e->op);
  for (int i = 0; i < arity(e); i++) {
    const char *bad = expr_not_emitted(e->arg[i]);
    if (bad) return bad;
  }
  return NULL;
}

/* Whether the value is a number once dk and dv are known, and which. */
static bool folded(const struct printer *p, const struct expr *e, double *ret) {
  double x[2] = {0, 0};
  if (e->op == OP_CONST || e->op == OP_OPTION) return *ret = e->value, true;
  if (e->op == OP_SYMBOL && e->symbol == SYM_DK) return *ret = p->config->dk, true;
  if (e->op == OP_SYMBOL && e->symbol == SYM_DV) return *ret = p->config->dv, true;
  if (!op_is_pointwise(e->op)) return false;
  for (int i = 0; i < arity(e); i++)
    if (!folded(p, e->arg[i], &x[i])) return false;
  return *ret = op_value(e->op, x[0], x[1]), true;
}

static void count_uses(struct printer *p, const struct expr *e) {
  double x;
  if (p->uses[e->id]++ > 0 || folded(p, e, &x)) return;
  for (int i = 0; i < arity(e); i++) count_uses(p, e->arg[i]);
}

/* 0.5 -> "0.5f", 2 -> "2.0f" */
static void print_number(struct buf *out, double x) {
  struct buf text = {0};
  buf_number(&text, (float)x, 9);
  const bool whole = text.data && !strpbrk(text.data, ".einf");
  buf_printf(out, "%s%s", buf_text(&text), whole ? ".0f" : "f");
  buf_finish(&text);
}

static void print_leaf(struct printer *p, struct buf *out, const struct expr *e) {
  struct expr_code *code = p->code;
  if (e->op == OP_SYMBOL) {
    const bool head = e->symbol == SYM_HEAD;
    *(head ? &code->uses_head : &code->uses_heads) = true;
    buf_puts(out, head ? "per_head.head" : "per_head.heads");
    return;
  }
  leaf_list_add(&code->leaves, e->leaf);
  buf_printf(out, e->leaf->param ? "per_head.param_%s" : "gate.in_%s", e->leaf->name);
}

static void print_node(struct printer *p, struct buf *out, const struct expr *e);

/* A shared node that has a step, and is printed by its name. */
static bool is_named(const struct printer *p, const struct expr *e) {
  double x;
  return p->uses[e->id] > 1 && arity(e) > 0 && !folded(p, e, &x);
}

static int operand_binding(const struct printer *p, const struct expr *e) {
  double x;
  if (folded(p, e, &x)) return x < 0 ? UNARY : ATOM;
  return is_named(p, e) ? ATOM : binding(e->op);
}

/* An operand, in parentheses where the text around it binds tighter. */
static void print_operand(struct printer *p, struct buf *out, const struct expr *e, int need) {
  const int have = operand_binding(p, e);
  if (have < need) buf_puts(out, "(");
  if (is_named(p, e))
    buf_printf(out, "e%u", e->id);
  else
    print_node(p, out, e);
  if (have < need) buf_puts(out, ")");
}

/* What an operand must bind at least like: a - (b + c), a / (b * c), -(a + b), f(a + b). */
static int needed(enum op op, int operand) {
  switch (op) {
  case OP_ADD: return TERM;
  case OP_SUB: return operand == 0 ? TERM : PRODUCT;
  case OP_MUL: return operand == 0 ? PRODUCT : UNARY;
  case OP_DIV: return operand == 0 ? PRODUCT : UNARY;
  case OP_NEG: return ATOM;
  default: return 0;
  }
}

static void print_node(struct printer *p, struct buf *out, const struct expr *e) {
  double x;
  if (folded(p, e, &x)) {
    print_number(out, x);
    return;
  }
  if (arity(e) == 0) {
    print_leaf(p, out, e);
    return;
  }
  for (const char *s = spelling(e->op); *s; s++) {
    if (*s != '$') {
      buf_write(out, s, 1);
      continue;
    }
    const int operand = *++s - '1';
    print_operand(p, out, e->arg[operand], needed(e->op, operand));
  }
}

/* Steps of the shared nodes below e, operands first. */
static void print_steps(struct printer *p, const struct expr *e) {
  double x;
  if (p->done[e->id] || arity(e) == 0 || folded(p, e, &x)) return;
  p->done[e->id] = true;
  for (int i = 0; i < arity(e); i++) print_steps(p, e->arg[i]);
  if (p->uses[e->id] < 2) return;
  struct buf text = {0};
  print_node(p, &text, e);
  buf_printf(&p->code->steps, "{ name = \"e%u\", text = ", e->id);
  lua_quote(&p->code->steps, buf_text(&text));
  buf_printf(&p->code->steps, ", line = %d }, ", e->line);
  buf_finish(&text);
}

void expr_code(const struct expr *const *e, int n, const struct gen_config *config, struct arena *a,
               struct expr_code *ret) {
  unsigned top = 0;
  for (int i = 0; i < n; i++) top = e[i]->id > top ? e[i]->id : top;
  *ret = (struct expr_code){.line = e[0]->line};
  struct printer p = {config, ret, arena_array(a, unsigned, top + 1),
                      arena_array(a, bool, top + 1)};
  for (int i = 0; i < n; i++) count_uses(&p, e[i]);
  for (int i = 0; i < n; i++) print_steps(&p, e[i]);
  for (int i = 0; i < n; i++) {
    if (i > 0) buf_puts(&ret->value, " + ");
    print_operand(&p, &ret->value, e[i], TERM);
  }
  ret->atom = n == 1 && operand_binding(&p, e[0]) == ATOM;
}

void expr_code_finish(struct expr_code *code) {
  buf_finish(&code->steps);
  buf_finish(&code->value);
}

/* ---- slots ---- */

static void emit_inputs(struct buf *out, const struct leaf_list *leaves) {
  for (int i = 0; i < leaves->n; i++)
    if (!leaves->at[i]->param) buf_printf(out, "{ field = \"in_%s\" }, ", leaves->at[i]->name);
}

static bool reads_per_head(const struct expr_code *code) {
  bool reads = code->uses_head || code->uses_heads;
  for (int i = 0; i < code->leaves.n; i++) reads |= code->leaves.at[i]->param;
  return reads;
}

void emit_code(struct buf *out, const char *key, const struct expr_code *code, const char *text) {
  buf_printf(out, "%s = {\n", key);
  emit_string(out, "text", text);
  buf_puts(out, "inputs = { ");
  emit_inputs(out, &code->leaves);
  buf_printf(out, "},\nper_head = %s,\n", reads_per_head(code) ? "true" : "false");
  buf_printf(out, "steps = { %s},\n", buf_text(&code->steps));
  emit_string(out, "value", buf_text(&code->value));
  buf_printf(out, "atom = %s,\nline = %d },\n", code->atom ? "true" : "false", code->line);
}
