/* SPDX-License-Identifier: MIT
 * expr_code.c - an expression of the IR as C text in fp32. The only printer of kernel operators;
 * how each is spelled stands in ops.h.
 *
 * Shared nodes become named steps, so that the text is as small as the DAG:
 *
 *   local dt = softplus(input "dt" + param "b")
 *   decay(exp(-dt) * exp(-(dt * dt)))
 *
 *   const float e10 = tile_softplus(gate.in_dt + per_head.param_b);
 *   -e10 + -(e10 * e10)
 */
#include "emit.h"

#include "expr.h"

#include <string.h>

struct printer {
  const struct gen_config *config;
  const struct row_names *names; /* of reductions; NULL: there are none */
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
  case OP_DIV:
  case OP_L2NORM:
  case OP_RMSNORM:
  case OP_SOFTMAX: return PRODUCT;
  case OP_NEG: return UNARY;
  default: return ATOM;
  }
}

/* Operands that stand in the text: what a sum runs over is in its reduction. */
static int arity(const struct expr *e) {
  return e->arg[1] ? 2 : e->arg[0] && e->op != OP_SUM ? 1 : 0;
}

static const char *spelling(enum op op) {
  static const char *const text[] = {
#define OP(id, name, arity, cuda) cuda,
#include "ops.h"
#undef OP
  };
  return text[op];
}

/* Over channels there are the inputs of a token and o; a kernel that does not go through its values
 * token by token has no params over channels there, and over dv no scalars of a token. */
static const char *leaf_not_emitted(const struct expr *e, enum axis axis, bool by_token) {
  if (e->axis != AXIS_NONE && e->axis != axis) return "a value over channels";
  if (e->step) return "a value over steps";
  const bool elsewhere = e->symbol == SYM_QK || (e->symbol == SYM_O && axis != AXIS_DV);
  if (e->op == OP_SYMBOL && elsewhere) return "a symbol of another slot";
  if (by_token) return NULL;
  if (e->op == OP_PARAM && e->axis != AXIS_NONE) return "a param over channels";
  if (e->op == OP_INPUT && axis == AXIS_DV && e->axis == AXIS_NONE) return "a scalar of a token";
  return NULL;
}

static const char *not_emitted(const struct expr *e, enum axis axis, bool by_token) {
  if (!e) return NULL;
  if (!e->arg[0]) return leaf_not_emitted(e, axis, by_token);
  if (!spelling(e->op) || (!by_token && !op_is_pointwise(e->op))) return op_name(e->op);
  for (int i = 0; i < 2; i++) {
    const char *bad = not_emitted(e->arg[i], axis, by_token);
    if (bad) return bad;
  }
  return NULL;
}

const char *expr_not_emitted(const struct expr *e, enum axis axis) {
  return not_emitted(e, axis, false);
}

const char *expr_not_emitted_by_token(const struct expr *e, enum axis axis) {
  return not_emitted(e, axis, true);
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

static void print_symbol(struct expr_code *code, struct buf *out, enum symbol symbol) {
  if (symbol == SYM_O) code->uses_o = true;
  if (symbol == SYM_ROWSUM) code->uses_rowsum = true;
  if (symbol == SYM_HEAD) code->uses_head = true;
  if (symbol == SYM_HEADS) code->uses_heads = true;
  buf_puts(out, symbol == SYM_O        ? "o"
                : symbol == SYM_ROWSUM ? "rowsum"
                : symbol == SYM_HEAD   ? "per_head.head"
                                       : "per_head.heads");
}

/* "row2": the reduction `which` (0 or 1) of a node over channels. */
static void print_row(struct printer *p, struct buf *out, const struct expr *e, int which) {
  int i = 0;
  while (p->names->node[i] != e) i++;
  p->code->rows |= 1u << (i + which);
  buf_printf(out, "row%d", i + which);
}

static void print_leaf(struct printer *p, struct buf *out, const struct expr *e) {
  if (e->op == OP_SYMBOL) {
    print_symbol(p->code, out, e->symbol);
    return;
  }
  leaf_list_add(&p->code->leaves, e->leaf);
  const bool scalar = e->leaf->axis == AXIS_NONE;
  const char *prefix = e->leaf->param ? scalar ? "per_head.param_" : "param_"
                       : scalar       ? "gate.in_"
                                      : "in_";
  buf_puts(out, prefix);
  buf_puts(out, e->leaf->name);
}

static void print_node(struct printer *p, struct buf *out, const struct expr *e);

/* A shared node that has a step, and is printed by its name. */
static bool is_named(const struct printer *p, const struct expr *e) {
  double x;
  return p->uses[e->id] > 1 && arity(e) > 0 && !folded(p, e, &x);
}

/* x of elu(x) + 1, e^x below 0, which has a function of its own: the sum loses what is small. */
static const struct expr *elu_plus_one(const struct printer *p, const struct expr *e) {
  for (int i = 0; i < 2 && e->op == OP_ADD; i++) {
    const struct expr *elu = e->arg[i];
    double one;
    if (elu->op == OP_ELU && p->uses[elu->id] < 2 && folded(p, e->arg[1 - i], &one) && one == 1)
      return elu->arg[0];
  }
  return NULL;
}

static int operand_binding(const struct printer *p, const struct expr *e) {
  double x;
  if (elu_plus_one(p, e)) return ATOM;
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
  case OP_L2NORM:
  case OP_RMSNORM: return PRODUCT;
  case OP_SOFTMAX: return TERM;
  default: return 0;
  }
}

static void print_node(struct printer *p, struct buf *out, const struct expr *e) {
  double x;
  if (folded(p, e, &x)) {
    print_number(out, x);
    return;
  }
  if (!e->arg[0]) {
    print_leaf(p, out, e);
    return;
  }
  const struct expr *elu = elu_plus_one(p, e);
  if (elu) {
    buf_puts(out, "tile_elu1(");
    print_operand(p, out, elu, 0);
    buf_puts(out, ")");
    return;
  }
  for (const char *s = spelling(e->op); *s; s++) {
    if (*s != '$') {
      buf_write(out, s, 1);
      continue;
    }
    const int operand = *++s - '1';
    if (*s == 'r' || *s == 's')
      print_row(p, out, e, *s - 'r');
    else
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

/* "a + b", "a * b / c", "1.0f / a" */
static void print_terms(struct printer *p, const struct expr_term *terms, int n,
                        enum expr_join join) {
  struct buf *out = &p->code->value;
  if (terms[0].inverse) buf_puts(out, "1.0f / ");
  for (int i = 0; i < n; i++) {
    if (i > 0) buf_puts(out, join == JOIN_SUM ? " + " : terms[i].inverse ? " / " : " * ");
    const int need = join == JOIN_SUM ? TERM : i == 0 && !terms[i].inverse ? PRODUCT : UNARY;
    print_operand(p, out, terms[i].e, n == 1 && !terms[0].inverse ? 0 : need);
  }
}

void expr_code_row(const struct expr_term *terms, int n, enum expr_join join,
                   const struct row_names *names, const struct gen_config *config, struct arena *a,
                   struct expr_code *ret) {
  unsigned top = 0;
  for (int i = 0; i < n; i++) top = terms[i].e->id > top ? terms[i].e->id : top;
  *ret = (struct expr_code){.line = 0};
  struct printer p = {config, names, ret, arena_array(a, unsigned, top + 1),
                      arena_array(a, bool, top + 1)};
  for (int i = 0; i < n; i++) count_uses(&p, terms[i].e);
  for (int i = 0; i < n; i++) print_steps(&p, terms[i].e);
  for (int i = 0; i < n && !ret->line; i++) ret->line = terms[i].e->line;
  print_terms(&p, terms, n, join);
  ret->atom = n == 1 && !terms[0].inverse && operand_binding(&p, terms[0].e) == ATOM;
}

void expr_code(const struct expr_term *terms, int n, enum expr_join join,
               const struct gen_config *config, struct arena *a, struct expr_code *ret) {
  expr_code_row(terms, n, join, NULL, config, a, ret);
}

void expr_code_finish(struct expr_code *code) {
  buf_finish(&code->steps);
  buf_finish(&code->value);
}

/* ---- slots ---- */

void emit_inputs(struct buf *out, const char *key, const struct leaf_list *leaves) {
  buf_printf(out, "%s = { ", key);
  for (int i = 0; i < leaves->n; i++)
    if (!leaves->at[i]->param && leaves->at[i]->axis == AXIS_NONE)
      buf_printf(out, "{ field = \"in_%s\", fp32 = %s }, ", leaves->at[i]->name,
                 leaves->at[i]->fp32 ? "true" : "false");
  buf_puts(out, "},\n");
}

/* What has a value for each channel: o, inputs and params over channels, then the reductions; in a
 * normaliser rowsum, which is no channel's but is given in the same way. */
static void emit_channels(struct buf *out, const struct expr_code *code) {
  buf_puts(out, "channels = { ");
  if (code->uses_o) buf_puts(out, "{ field = \"o\" }, ");
  if (code->uses_rowsum) buf_puts(out, "{ field = \"rowsum\" }, ");
  for (int i = 0; i < code->leaves.n; i++) {
    const struct leaf *leaf = code->leaves.at[i];
    if (leaf->axis == AXIS_NONE) continue;
    buf_printf(out, "{ field = \"%s_%s\", param = %s }, ", leaf->param ? "param" : "in", leaf->name,
               leaf->param ? "true" : "false");
  }
  buf_puts(out, "},\nrows = { ");
  for (int i = 0; i < ROW_MAX; i++)
    if (code->rows >> i & 1) buf_printf(out, "{ field = \"row%d\" }, ", i);
  buf_puts(out, "},\n");
}

static bool reads_per_head(const struct expr_code *code) {
  bool reads = code->uses_head || code->uses_heads;
  for (int i = 0; i < code->leaves.n; i++)
    reads |= code->leaves.at[i]->param && code->leaves.at[i]->axis == AXIS_NONE;
  return reads;
}

void emit_code(struct buf *out, const char *key, const struct expr_code *code, const char *text) {
  buf_printf(out, "%s = {\n", key);
  emit_string(out, "text", text);
  emit_inputs(out, "inputs", &code->leaves);
  emit_channels(out, code);
  buf_printf(out, "per_head = %s,\n", reads_per_head(code) ? "true" : "false");
  buf_printf(out, "steps = { %s},\n", buf_text(&code->steps));
  emit_string(out, "value", buf_text(&code->value));
  buf_printf(out, "atom = %s,\nline = %d },\n", code->atom ? "true" : "false", code->line);
}
