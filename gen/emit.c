/* SPDX-License-Identifier: MIT
 * emit.c - a variant and its plan as the slots of a template, and the template rendered.
 *
 * The slots are written as Lua text, a table that a person can read:
 *
 *   return {
 *   dk = 128, dv = 128, stages = 3, entry = "simple_gla_forward",
 *   arrays = { { type = "const bf16", field = "q", comment = "q [B,T,H,dk]" }, ...
 *   decay = { inputs = { { field = "in_g" } }, value = "gate.in_g", ...
 *   }
 */
#include "emit.h"

#include "template.h"

#include <stdio.h>
#include <string.h>

struct emission {
  const struct variant *v;
  const struct branch *b;
  const struct plan *plan;
  struct op_source *out;
  struct buf slots;
  struct buf arrays; /* the Lua list */
  struct expr_code decay, scale;
  bool has_decay, has_scale;
};

/* ---- arrays: one table for the runtime and, with the same order, one for the template ---- */

static const char *axes_text(const char *axes) {
  static const struct { const char *axes, *text; } names[] = {
      {"BTHk", "[B,T,H,dk]"}, {"BTHv", "[B,T,H,dv]"}, {"BTH", "[B,T,H]"},
      {"H", "[H]"},           {"BHkv", "[B,H,dk,dv]"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(names[i].axes, axes)) return names[i].text;
  return axes;
}

static const char *ctype(mkc_dtype t) { return t == MKC_BF16 ? "bf16" : "float"; }

static void add_array(struct emission *e, const char *field, struct op_array x) {
  struct op_source *s = e->out;
  s->arrays[s->narrays++] = x;
  buf_printf(&e->arrays, "{ type = \"%s%s\", field = \"%s\", comment = \"%s %s%s\" },\n",
             x.output ? "" : "const ", ctype(x.dtype), field, x.name, axes_text(x.axes),
             x.optional ? ", or null" : "");
}

static struct op_array array(const char *name, const char *axes, mkc_dtype dtype, int align) {
  struct op_array x = {.dtype = dtype, .align = align};
  snprintf(x.name, sizeof x.name, "%s", name);
  snprintf(x.axes, sizeof x.axes, "%s", axes);
  return x;
}

/* bf16 tiles move in pieces of 16 bytes */
static void add_role(struct emission *e, const char *role, const char *name, const char *axes) {
  add_array(e, role, array(name, axes, e->plan->config.dtype, 16));
}

static void add_leaf(struct emission *e, const struct leaf *leaf) {
  char field[64];
  snprintf(field, sizeof field, "%s_%s", leaf->param ? "param" : "in", leaf->name);
  add_array(e, field, array(leaf->name, leaf->param ? "H" : "BTH", MKC_F32, 4));
}

static void add_state(struct emission *e, const char *name, int output) {
  struct op_array x = array(name, "BHkv", MKC_F32, 4);
  x.output = output;
  x.optional = 1;
  add_array(e, name, x);
}

/* The variant's leaves in their order, then the state and the output. */
static void add_arrays(struct emission *e) {
  add_role(e, "q", e->b->q->leaf->name, "BTHk");
  add_role(e, "k", e->b->k->leaf->name, "BTHk");
  add_role(e, "v", e->b->v->leaf->name, "BTHv");
  for (int i = 0; i < e->decay.nleaves; i++) add_leaf(e, e->decay.leaves[i]);
  for (int i = 0; i < e->scale.nleaves; i++) {
    bool known = false;
    for (int j = 0; j < e->decay.nleaves; j++) known |= e->decay.leaves[j] == e->scale.leaves[i];
    if (!known) add_leaf(e, e->scale.leaves[i]);
  }
  add_state(e, "h0", 0);
  struct op_array o = array("o", "BTHv", e->plan->config.dtype, 16);
  o.output = 1;
  add_array(e, "o", o);
  add_state(e, "ht", 1);
}

/* ---- expressions ---- */

static void collect_decay(struct emission *e, struct arena *a) {
  const struct branch *b = e->b;
  const struct expr **logs = arena_array(a, const struct expr *, b->nfactors + b->nweights);
  int n = 0;
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].log) logs[n++] = b->factors[i].log;
  for (int i = 0; i < b->nweights; i++)
    if (b->weights[i].log) logs[n++] = b->weights[i].log;
  e->has_decay = n > 0;
  if (n > 0) expr_code(logs, n, &e->plan->config, a, &e->decay);
}

static void collect_scale(struct emission *e, struct arena *a) {
  const struct expr *scale = e->b->scale;
  e->has_scale = !(scale->op == OP_CONST && scale->value == 1);
  if (e->has_scale) expr_code(&scale, 1, &e->plan->config, a, &e->scale);
}

static void put_string(struct buf *out, const char *key, const char *value) {
  buf_printf(out, "%s = ", key);
  lua_quote(out, value);
  buf_puts(out, ",\n");
}

static void put_fields(struct buf *out, const struct expr_code *code, bool param) {
  for (int i = 0; i < code->nleaves; i++)
    if (code->leaves[i]->param == param)
      buf_printf(out, "{ field = \"%s_%s\" }, ", param ? "param" : "in", code->leaves[i]->name);
}

static void put_code(struct buf *out, const char *key, const struct expr_code *code,
                     const char *text) {
  int nparams = 0;
  for (int i = 0; i < code->nleaves; i++) nparams += code->leaves[i]->param;
  buf_printf(out, "%s = {\n", key);
  put_string(out, "text", text);
  buf_puts(out, "inputs = { ");
  put_fields(out, code, false);
  buf_printf(out, "},\nper_head = %s,\n",
             nparams || code->uses_head || code->uses_heads ? "true" : "false");
  buf_printf(out, "steps = { %s},\n", buf_text(&code->steps));
  put_string(out, "value", buf_text(&code->value));
  buf_printf(out, "atom = %s,\n", code->atom ? "true" : "false");
  buf_printf(out, "line = %d },\n", code->line);
}

/* What the kernel reads once a head: symbols, then params. */
static void put_per_head(struct emission *e) {
  struct buf *out = &e->slots;
  buf_puts(out, "per_head = { ");
  if (e->decay.uses_head || e->scale.uses_head) buf_puts(out, "{ field = \"head\", of = \"head\" }, ");
  if (e->decay.uses_heads || e->scale.uses_heads) buf_puts(out, "{ field = \"heads\", of = \"a.H\" }, ");
  put_fields(out, &e->decay, true);
  for (int i = 0; i < e->scale.nleaves; i++) {
    bool known = false;
    for (int j = 0; j < e->decay.nleaves; j++) known |= e->decay.leaves[j] == e->scale.leaves[i];
    if (!known) buf_printf(out, "{ field = \"param_%s\" }, ", e->scale.leaves[i]->name);
  }
  buf_puts(out, "},\n");
}

/* The decay factor as the spec has it: "exp(g)". */
static void print_decay(struct buf *out, const struct branch *b) {
  const char *join = "";
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].diag) {
      buf_puts(out, join);
      expr_print(out, b->factors[i].diag);
      join = " * ";
    }
  for (int i = 0; i < b->nweights; i++) {
    buf_puts(out, join);
    expr_print(out, b->weights[i].expr);
    join = " * ";
  }
}

/* ---- the head of the file: what this kernel is, as comment lines ---- */

static void put_equations(struct emission *e) {
  struct buf text = {0};
  variant_describe(&text, e->v);
  buf_puts(&e->slots, "equations = {");
  const char *line = strchr(buf_text(&text), '\n'); /* the first line has the free text `about` */
  while (line && *++line) {
    const char *end = strchr(line, '\n');
    const size_t len = end ? (size_t)(end - line) : strlen(line);
    struct buf one = {0};
    buf_write(&one, line, len);
    lua_quote(&e->slots, buf_text(&one));
    buf_puts(&e->slots, ",\n");
    buf_finish(&one);
    line = end;
  }
  buf_puts(&e->slots, "},\n");
  buf_finish(&text);
}

static void put_title(struct emission *e) {
  const struct plan *p = e->plan;
  struct buf b = {0};
  buf_printf(&b, "%s, forward pass: bf16, dk %d, dv %d, %s. Emitted by maskc " MKC_VERSION_STRING ".",
             e->v->name, p->config.dk, p->config.dv, p->config.arch);
  put_string(&e->slots, "title", buf_text(&b));
  buf_finish(&b);
  plan_print(&b, p);
  put_string(&e->slots, "plan", buf_text(&b));
  buf_finish(&b);
  plan_print_cost(&b, p);
  put_string(&e->slots, "floor", buf_text(&b));
  buf_finish(&b);
}

static void put_numbers(struct emission *e) {
  const struct plan *p = e->plan;
  buf_printf(&e->slots, "dk = %d, dv = %d, dv_tile = %d, stages = %d, min_blocks = %d,\n",
             p->config.dk, p->config.dv, p->dv_tile, p->stages, p->blocks_an_sm);
  put_string(&e->slots, "entry", e->out->entry);
  put_string(&e->slots, "spec", e->v->path);
}

static void put_slots(struct emission *e) {
  struct buf *out = &e->slots, decay = {0};
  buf_puts(out, "return {\n");
  put_title(e);
  put_equations(e);
  put_numbers(e);
  buf_printf(out, "arrays = {\n%s},\n", buf_text(&e->arrays));
  put_per_head(e);
  print_decay(&decay, e->b);
  if (e->has_decay) put_code(out, "decay", &e->decay, buf_text(&decay));
  else buf_puts(out, "decay = false,\n");
  if (e->has_scale) put_code(out, "scale", &e->scale, "");
  else buf_puts(out, "scale = false,\n");
  buf_puts(out, "}\n");
  buf_finish(&decay);
}

/* ---- the bridge ---- */

static void fill_source(struct emission *e) {
  const struct plan *p = e->plan;
  struct op_source *s = e->out;
  *s = (struct op_source){.dk = p->config.dk, .dv = p->config.dv, .chunk = p->config.chunk,
                          .dtype = p->config.dtype, .pass = p->config.pass, .threads = p->threads,
                          .smem_bytes = p->smem_bytes, .blocks_a_head = p->blocks_a_head};
  snprintf(s->name, sizeof s->name, "%s", e->v->name);
  snprintf(s->entry, sizeof s->entry, "%s_forward", e->v->name);
  snprintf(s->arch, sizeof s->arch, "%s", p->config.arch);
}

static void finish(struct emission *e) {
  buf_finish(&e->slots);
  buf_finish(&e->arrays);
  expr_code_finish(&e->decay);
  expr_code_finish(&e->scale);
}

mkc_status emit_op(const struct variant *v, const struct plan *plan, struct arena *a,
                   struct op_source *ret, struct error *err) {
  struct emission e = {.v = v, .b = &v->branches[0], .plan = plan, .out = ret};
  fill_source(&e);
  collect_decay(&e, a);
  collect_scale(&e, a);
  if (e.decay.nleaves + e.scale.nleaves + 6 > OP_MAX_ARRAYS) {
    finish(&e);
    return error_set(err, MKC_E_NO_SCHEDULE, "%s reads more than %d arrays", v->name, OP_MAX_ARRAYS);
  }
  add_arrays(&e);
  put_slots(&e);
  struct buf text = {0};
  plan_print(&text, plan);
  ret->plan = buf_steal(&text);
  mkc_status status = MKC_OK;
  if (!ret->plan || e.slots.failed || e.arrays.failed)
    status = error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory while emitting %s", v->name);
  if (status == MKC_OK)
    status = template_render(plan->schedule->template_name, buf_text(&e.slots), &ret->text, err);
  finish(&e);
  if (status != MKC_OK) op_source_finish(ret);
  return status;
}
