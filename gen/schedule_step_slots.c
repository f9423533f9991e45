/* SPDX-License-Identifier: MIT
 * schedule_step_slots.c - what templates/step.k.c and step_fenwick.k.c are rendered with: the
 * values of a token as C text, the operations on the state that take them, and the arrays.
 *
 *   scalars = { { name = "rate", text = .., code = { ... } }, ... }      one number a token
 *   rows    = { { name = "k", text = .., row = { ... } }, ... }          over dk (gen/row_code.h)
 *   columns = { { name = "v", ... }, ... }                               over dv
 *   weights = { { name = "weight", row = { ... }, factor = { code } } }  over levels, under fenwick
 *   ops     = { { kind = "project", value = "k", into = "r0" }, ... }
 */
#include "levels.h"
#include "row_code.h"
#include "schedule_step.h"

#include <stdio.h>

/* Everything that the values read. */
struct reads {
  struct leaf_list leaves;
  bool head, heads;
};

static void add_reads(void *data, const struct expr_code *code) {
  struct reads *r = data;
  for (int i = 0; i < code->leaves.n; i++) leaf_list_add(&r->leaves, code->leaves.at[i]);
  r->head |= code->uses_head;
  r->heads |= code->uses_heads;
}

/* ---- names ---- */

enum list { SCALARS, ROWS, COLUMNS };

/* What a value is for, by the first operation that takes it. */
static const char *purpose(const struct step_program *p, enum list list, int value) {
  if (list == ROWS && value == p->q) return "q";
  if (list == ROWS && value == p->k) return "k";
  if (list == COLUMNS && value == 0) return "v";
  if (list == SCALARS && value == p->scale) return "scale";
  for (int i = 0; i < p->nops; i++) {
    const struct step_op *op = &p->ops[i];
    if (list == SCALARS && op->kind == STEP_SCALE && op->value == value) return "decay";
    if (list == COLUMNS && op->kind == STEP_SCALE_DV && op->value == value) return "value_decay";
    if (list != ROWS || op->value != value) continue;
    if (op->kind == STEP_SCALE_DK) return "channel_decay";
    if (op->kind == STEP_PROJECT) return "erase";
    if (op->kind == STEP_ADD) return "direction";
  }
  return "rate"; /* of a sum */
}

/* "rate", "rate1", "rate2" */
static void value_name(const struct step_program *p, enum list list, int value, char ret[32]) {
  const char *what = purpose(p, list, value);
  int before = 0;
  for (int i = 0; i < value; i++) before += purpose(p, list, i) == what;
  snprintf(ret, 32, before ? "%s%d" : "%s", what, before);
}

/* ---- values ---- */

/* The factors as the spec has them, for a comment: "beta / n". */
static void print_product(struct buf *out, const struct step_scalar *v) {
  for (int i = 0; i < v->n; i++) {
    if (i > 0) buf_puts(out, v->terms[i].inverse ? " / " : " * ");
    if (i == 0 && v->terms[i].inverse) buf_puts(out, "1 / ");
    expr_print(out, v->terms[i].e);
  }
}

static void emit_scalar(struct emission *e, const char *name, const struct step_scalar *v,
                        struct reads *reads) {
  struct expr_code code;
  struct buf text = {0};
  expr_code(v->terms, v->n, JOIN_PRODUCT, &e->plan->config, e->arena, &code);
  print_product(&text, v);
  buf_puts(&e->slots, "{ ");
  emit_string(&e->slots, "name", name);
  emit_string(&e->slots, "text", buf_text(&text));
  emit_code(&e->slots, "code", &code, "");
  buf_puts(&e->slots, "},\n");
  add_reads(reads, &code);
  expr_code_finish(&code);
  buf_finish(&text);
}

static void emit_scalars(struct emission *e, const struct step_program *p, struct reads *reads) {
  char name[32];
  buf_puts(&e->slots, "scalars = {\n");
  for (int i = 0; i < p->scalars.n; i++) {
    value_name(p, SCALARS, i, name);
    emit_scalar(e, name, &p->scalars.at[i], reads);
  }
  buf_puts(&e->slots, "},\n");
}

/* factor: what it is multiplied by, or NULL */
static void emit_vector(struct emission *e, const char *name, const struct expr *x,
                        const struct expr_code *factor, struct reads *reads) {
  struct row_code code;
  struct buf text = {0};
  row_code(x, &e->plan->config, e->arena, &code);
  expr_print(&text, x);
  buf_puts(&e->slots, "{ ");
  emit_string(&e->slots, "name", name);
  emit_string(&e->slots, "text", buf_text(&text));
  emit_row(&e->slots, "row", &code);
  if (factor) emit_code(&e->slots, "factor", factor, "");
  buf_puts(&e->slots, "},\n");
  row_code_each(&code, add_reads, reads);
  row_code_finish(&code);
  buf_finish(&text);
}

static void emit_vectors(struct emission *e, const struct step_program *p, enum list list,
                         const struct step_vectors *values, struct reads *reads) {
  char name[32];
  buf_printf(&e->slots, "%s = {\n", list == ROWS ? "rows" : "columns");
  for (int i = 0; i < values->n; i++) {
    value_name(p, list, i, name);
    emit_vector(e, name, values->at[i], NULL, reads);
  }
  buf_puts(&e->slots, "},\n");
}

/* What a state of each level is read with, times the scale. */
static void emit_weights(struct emission *e, struct reads *reads) {
  const struct branch *b = &e->v->branches[0];
  const struct weight *w = levels_weight(b);
  const struct expr_term scale = {b->scale, false};
  struct expr_code factor;
  buf_puts(&e->slots, "weights = {\n");
  if (w) {
    const bool one = b->scale->op == OP_CONST && b->scale->value == 1;
    expr_code(&scale, 1, JOIN_PRODUCT, &e->plan->config, e->arena, &factor);
    emit_vector(e, "weight", w->expr, one ? NULL : &factor, reads);
    add_reads(reads, &factor);
    expr_code_finish(&factor);
  }
  buf_puts(&e->slots, "},\n");
}

static void emit_output_value(struct emission *e, struct reads *reads) {
  buf_puts(&e->slots, "outputs = {\n");
  if (e->v->output) emit_vector(e, "output", e->v->output, NULL, reads);
  buf_puts(&e->slots, "},\n");
}

static void emit_normaliser(struct emission *e, struct reads *reads) {
  const struct expr_term term = {e->v->normaliser, false};
  struct expr_code code;
  if (!term.e) {
    buf_puts(&e->slots, "normaliser = false,\n");
    return;
  }
  expr_code(&term, 1, JOIN_SUM, &e->plan->config, e->arena, &code);
  emit_code(&e->slots, "normaliser", &code, "");
  add_reads(reads, &code);
  expr_code_finish(&code);
}

/* ---- operations ---- */

static void emit_sum(struct buf *out, const struct step_program *p, const struct step_op *op) {
  char name[32];
  buf_printf(out, "writes = %s, sum = { ", op->writes ? "true" : "false");
  for (int i = 0; i < op->nsum; i++) {
    buf_printf(out, "{ projection = \"r%d\", minus = %s", op->sum[i].projection,
               op->sum[i].minus ? "true" : "false");
    if (op->sum[i].scalar >= 0) {
      value_name(p, SCALARS, op->sum[i].scalar, name);
      buf_printf(out, ", scalar = \"%s\"", name);
    }
    buf_puts(out, " }, ");
  }
  buf_puts(out, "}, ");
}

static void emit_ops(struct buf *out, const struct step_program *p) {
  static const struct {
    const char *name;
    enum list list;
  } kinds[] = {
      [STEP_SCALE] = {"scale", SCALARS},
      [STEP_SCALE_DK] = {"scale_dk", ROWS},
      [STEP_SCALE_DV] = {"scale_dv", COLUMNS},
      [STEP_PROJECT] = {"project", ROWS},
      [STEP_ADD] = {"add", ROWS},
      [STEP_READ] = {"read", ROWS},
  };
  char name[32];
  int projections = 0;
  buf_puts(out, "ops = {\n");
  for (int i = 0; i < p->nops; i++) {
    const struct step_op *op = &p->ops[i];
    value_name(p, kinds[op->kind].list, op->value, name);
    buf_printf(out, "{ kind = \"%s\", value = \"%s\", ", kinds[op->kind].name, name);
    if (op->kind == STEP_PROJECT) buf_printf(out, "into = \"r%d\", ", projections++);
    if (op->kind == STEP_READ) buf_puts(out, "into = \"y\", ");
    if (op->kind == STEP_READ && p->scale >= 0) buf_puts(out, "scalar = \"scale\", ");
    if (op->kind == STEP_ADD) emit_sum(out, p, op);
    buf_puts(out, "},\n");
  }
  buf_puts(out, "},\n");
}

/* What the kernel reads once a head: symbols, then the scalar params. */
static void emit_per_head(struct buf *out, const struct reads *reads) {
  const struct leaf_list *leaves = &reads->leaves;
  buf_puts(out, "per_head = { ");
  if (reads->head) buf_puts(out, "{ field = \"head\", of = \"head\" }, ");
  if (reads->heads) buf_puts(out, "{ field = \"heads\", of = \"a.H\" }, ");
  for (int i = 0; i < leaves->n; i++)
    if (leaves->at[i]->param && leaves->at[i]->axis == AXIS_NONE)
      buf_printf(out, "{ field = \"param_%s\" }, ", leaves->at[i]->name);
  buf_puts(out, "},\n");
}

/* ---- arrays ---- */

static int element_bytes(mkc_dtype t) {
  return t == MKC_F32 || t == MKC_I32 ? 4 : 2;
}

static void emit_leaf(struct emission *e, const struct leaf *leaf) {
  static const char *const inputs[] = {
      [AXIS_NONE] = "BTH", [AXIS_DK] = "BTHk", [AXIS_DV] = "BTHv", [AXIS_LEVELS] = "BTHL"};
  static const char *const params[] = {
      [AXIS_NONE] = "H", [AXIS_DK] = "Hk", [AXIS_DV] = "Hv", [AXIS_LEVELS] = "HL"};
  const mkc_dtype dtype = leaf->fp32 ? MKC_F32 : e->plan->config.dtype;
  char field[64];
  snprintf(field, sizeof field, "%s_%s", leaf->param ? "param" : "in", leaf->name);
  emit_array(e, field,
             emit_array_of(leaf->name, (leaf->param ? params : inputs)[leaf->axis], dtype,
                           element_bytes(dtype)));
}

static void emit_optional(struct emission *e, const char *name, const char *axes, mkc_dtype dtype,
                          int align, bool output) {
  struct op_array x = emit_array_of(name, axes, dtype, align);
  x.optional = 1;
  x.output = output;
  emit_array(e, name, x);
}

/* Bytes of a row of the state that move at once. */
static int state_piece(const struct gen_config *c) {
  return c->align == 0 || c->align == 16 ? 16 : c->align == 8 ? 8 : 4;
}

static void emit_arrays(struct emission *e, const struct leaf_list *leaves) {
  const struct gen_config *c = &e->plan->config;
  for (int i = 0; i < leaves->n; i++) emit_leaf(e, leaves->at[i]);
  const bool slots = e->v->branches[0].fenwick;
  struct op_array state = emit_array_of("state", slots ? "NSHkv" : "NHkv", MKC_F32, state_piece(c));
  state.output = state.in_place = 1;
  emit_array(e, "state", state);
  struct op_array column = emit_array_of("state_n", "NHk", MKC_F32, 4);
  column.output = column.in_place = 1;
  if (e->v->normaliser) emit_array(e, "state_n", column);
  if (slots) emit_array(e, "position", emit_array_of("position", "B", MKC_I64, 8));
  emit_optional(e, "state_index", "B", MKC_I32, 4, false);
  emit_optional(e, "accepted", "B", MKC_I32, 4, false);
  struct op_array o = emit_array_of("o", "BTHv", c->dtype, element_bytes(c->dtype));
  o.output = 1;
  emit_array(e, "o", o);
  if (e->v->normaliser) emit_optional(e, "states_n", "BTHk", MKC_F32, 4, true);
  if (!slots) emit_optional(e, "states", "BTHkv", MKC_F32, state_piece(c), true);
}

void schedule_step_slots(struct emission *e) {
  const struct plan *plan = e->plan;
  struct step_program p;
  struct reads reads = {.head = false};
  step_program(&e->v->branches[0], &p);
  if (e->v->branches[0].fenwick) {
    e->out->max_levels = MAX_LEVELS;
    e->out->max_tokens = STEP_TOKENS;
  }
  buf_printf(&e->slots, "dv_tile = %d, splits = %d, state_piece = %d,\n", plan->dv_tile,
             plan->blocks_a_head, state_piece(&plan->config));
  emit_scalars(e, &p, &reads);
  emit_vectors(e, &p, ROWS, &p.rows, &reads);
  emit_vectors(e, &p, COLUMNS, &p.columns, &reads);
  emit_weights(e, &reads);
  emit_output_value(e, &reads);
  emit_normaliser(e, &reads);
  emit_ops(&e->slots, &p);
  emit_inputs(&e->slots, "inputs", &reads.leaves);
  emit_per_head(&e->slots, &reads);
  emit_arrays(e, &reads.leaves);
}
