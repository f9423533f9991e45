/* SPDX-License-Identifier: MIT
 * row_code.c - the reductions of an expression over channels, found operands first, and the code of
 * each. See row_code.h.
 */
#include "row_code.h"

#include "expr.h"

bool row_code_reduces(const struct expr *e) {
  if (!e) return false;
  if (e->arg[0] && !op_is_pointwise(e->op)) return true;
  return row_code_reduces(e->arg[0]) || row_code_reduces(e->arg[1]);
}

static bool is_named(const struct row_names *names, const struct expr *e) {
  for (int i = 0; i < names->n; i++)
    if (names->node[i] == e) return true;
  return false;
}

/* False: there are more reductions than ROW_MAX. */
static bool collect(const struct expr *e, struct row_names *names) {
  if (!e || is_named(names, e)) return true;
  if (!collect(e->arg[0], names) || !collect(e->arg[1], names)) return false;
  if (!e->arg[0] || op_is_pointwise(e->op)) return true;
  const int n = e->op == OP_SOFTMAX ? 2 : 1;
  if (names->n + n > ROW_MAX) return false;
  for (int i = 0; i < n; i++) names->node[names->n++] = e;
  return true;
}

const char *row_code_lacks(const struct expr *e, enum axis axis) {
  struct row_names names = {.n = 0};
  const char *bad = expr_not_emitted_by_token(e, axis);
  return bad ? bad : collect(e, &names) ? NULL : "so many sums over channels";
}

/* "1.0f / tile_sqrt(x + 9.99999997e-07f)" */
static const char *finish_of_norm(const struct expr *e, const struct gen_config *config,
                                  struct arena *a) {
  struct buf eps = {0};
  buf_number(&eps, (float)e->value, 9);
  const int width = e->axis == AXIS_DK ? config->dk : config->dv;
  const char *text =
      e->op == OP_L2NORM
          ? arena_printf(a, "1.0f / tile_sqrt(x + %sf)", buf_text(&eps))
          : arena_printf(a, "1.0f / tile_sqrt(x / %d.0f + %sf)", width, buf_text(&eps));
  buf_finish(&eps);
  return text;
}

/* The sum's term of a softmax: "tile_exp(in_q - row0)" around the text of its operand. */
static void wrap_exp(struct expr_code *term, int max) {
  struct buf text = {0};
  buf_printf(&text, "tile_exp(%s%s%s - row%d)", term->atom ? "" : "(", buf_text(&term->value),
             term->atom ? "" : ")", max);
  buf_finish(&term->value);
  term->value = text;
  term->atom = true;
  term->rows |= 1u << max;
}

static void reduce(struct row_code *code, int i, const struct gen_config *config, struct arena *a) {
  const struct expr *e = code->names.node[i];
  const bool norm = e->op == OP_L2NORM || e->op == OP_RMSNORM;
  const bool second = i > 0 && code->names.node[i - 1] == e; /* of a softmax */
  const struct expr_term square[2] = {{e->arg[0], false}, {e->arg[0], false}};
  struct row_reduction *r = &code->reductions[i];
  r->combine = e->op == OP_SOFTMAX && !second ? "max" : "sum";
  r->finish = norm ? finish_of_norm(e, config, a) : second ? "1.0f / x" : "x";
  expr_code_row(square, norm ? 2 : 1, JOIN_PRODUCT, &code->names, config, a, &r->term);
  if (second) wrap_exp(&r->term, i - 1);
}

void row_code(const struct expr *e, const struct gen_config *config, struct arena *a,
              struct row_code *ret) {
  const struct expr_term value = {e, false};
  *ret = (struct row_code){.names.n = 0};
  collect(e, &ret->names);
  for (int i = 0; i < ret->names.n; i++) reduce(ret, i, config, a);
  expr_code_row(&value, 1, JOIN_SUM, &ret->names, config, a, &ret->value);
}

void row_code_finish(struct row_code *code) {
  for (int i = 0; i < code->names.n; i++) expr_code_finish(&code->reductions[i].term);
  expr_code_finish(&code->value);
}

void row_code_each(const struct row_code *code,
                   void (*visit)(void *data, const struct expr_code *code), void *data) {
  for (int i = 0; i < code->names.n; i++) visit(data, &code->reductions[i].term);
  visit(data, &code->value);
}

void emit_row(struct buf *out, const char *key, const struct row_code *code) {
  buf_printf(out, "%s = {\nreductions = {\n", key);
  for (int i = 0; i < code->names.n; i++) {
    const struct row_reduction *r = &code->reductions[i];
    buf_printf(out, "{ combine = \"%s\", ", r->combine);
    emit_string(out, "finish", r->finish);
    emit_code(out, "term", &r->term, "");
    buf_puts(out, "},\n");
  }
  buf_puts(out, "},\n");
  emit_code(out, "value", &code->value, "");
  buf_puts(out, "},\n");
}
