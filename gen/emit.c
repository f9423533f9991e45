/* SPDX-License-Identifier: MIT
 * emit.c - a plan as the slots of its template, and the template rendered. See emit.h.
 */
#include "emit.h"

#include "template.h"

#include <stdio.h>
#include <string.h>

/* ---- pieces of Lua text ---- */

void lua_quote(struct buf *out, const char *s) {
  buf_puts(out, "\"");
  for (; *s; s++) {
    const unsigned char c = (unsigned char)*s;
    if (c < 32 || c == '"' || c == '\\' || c == 127)
      buf_printf(out, "\\%03d", c);
    else
      buf_write(out, s, 1);
  }
  buf_puts(out, "\"");
}

void emit_string(struct buf *out, const char *key, const char *value) {
  buf_printf(out, "%s = ", key);
  lua_quote(out, value);
  buf_puts(out, ",\n");
}

/* ---- arrays: one table for the runtime and, in the same order, one for the template ---- */

static const char *axes_text(const char *axes) {
  static const struct {
    const char *axes, *text;
  } names[] = {
      {"BTHk", "[B,T,H,dk]"},
      {"BTHv", "[B,T,H,dv]"},
      {"BTH", "[B,T,H]"},
      {"H", "[H]"},
      {"BHkv", "[B,H,dk,dv]"},
      {"BHk", "[B,H,dk]"},
      {"NHkv", "[N,H,dk,dv]"},
      {"NHk", "[N,H,dk]"},
      {"Hk", "[H,dk]"},
      {"Hv", "[H,dv]"},
      {"BTHkv", "[B,T,H,dk,dv]"},
      {"B", "[B]"},
      {"C", "[N+1], int or i64"},
      {"BTHL", "[B,T,H,levels]"},
      {"HL", "[H,levels]"},
      {"BSHkv", "[B,slots,H,dk,dv]"},
      {"NSHkv", "[N,slots,H,dk,dv]"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(names[i].axes, axes)) return names[i].text;
  return axes;
}

static const char *ctype(mkc_dtype t) {
  static const char *const types[] = {"float", "bf16", "fp16", "int", "i64"};
  return types[t];
}

struct op_array emit_array_of(const char *name, const char *axes, mkc_dtype dtype, int align) {
  struct op_array x = {.dtype = dtype, .align = align};
  snprintf(x.name, sizeof x.name, "%s", name);
  snprintf(x.axes, sizeof x.axes, "%s", axes);
  return x;
}

void emit_array(struct emission *e, const char *field, struct op_array x) {
  struct op_source *s = e->out;
  if (s->narrays == OP_MAX_ARRAYS) {
    e->too_many = true;
    return;
  }
  s->arrays[s->narrays++] = x;
  buf_printf(&e->arrays,
             "{ type = \"%s%s\", field = \"%s\", axes = \"%s\", comment = \"%s %s%s\" },\n",
             x.output ? "" : "const ", x.axes[0] == 'C' ? "void" : ctype(x.dtype), field, x.axes,
             x.name, axes_text(x.axes), x.optional ? ", or null" : "");
}

void leaf_list_add(struct leaf_list *list, const struct leaf *leaf) {
  for (int i = 0; i < list->n; i++)
    if (list->at[i] == leaf) return;
  if (list->n == OP_MAX_ARRAYS) return;
  int at = list->n++;
  for (; at > 0 && list->at[at - 1]->index > leaf->index; at--) list->at[at] = list->at[at - 1];
  list->at[at] = leaf;
}

/* ---- the head of the file: what this kernel is, as comment lines ---- */

static void emit_equations(struct emission *e) {
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

static void emit_title(struct emission *e) {
  const struct plan *p = e->plan;
  struct buf b = {0};
  buf_printf(&b, "%s, %s pass: %s, dk %d, dv %d, %s. Emitted by maskc " MKC_VERSION_STRING ".",
             e->v->name, pass_name(p->config.pass), ctype(p->config.dtype), p->config.dk,
             p->config.dv, p->config.arch);
  emit_string(&e->slots, "title", buf_text(&b));
  buf_finish(&b);
  plan_print(&b, p);
  emit_string(&e->slots, "plan", buf_text(&b));
  buf_finish(&b);
  plan_print_cost(&b, p);
  emit_string(&e->slots, "floor", buf_text(&b));
  buf_finish(&b);
}

static void emit_sizes(struct emission *e) {
  static const char *const kinds[] = {[MKC_F32] = "f32", [MKC_BF16] = "bf16", [MKC_F16] = "f16"};
  const struct plan *p = e->plan;
  buf_printf(&e->slots, "dk = %d, dv = %d, chunk = %d, min_blocks = %d, halves = %d,\n",
             p->config.dk, p->config.dv, p->config.chunk, p->blocks_an_sm, p->halves ? 2 : 1);
  /* the storage type, and what the vocabulary calls it: pack_bf16x2 */
  emit_string(&e->slots, "element", ctype(p->config.dtype));
  emit_string(&e->slots, "kind", kinds[p->config.dtype]);
  emit_string(&e->slots, "entry", e->out->entry);
  emit_string(&e->slots, "spec", e->v->path);
}

static void emit_slots(struct emission *e) {
  buf_puts(&e->slots, "return {\n");
  emit_title(e);
  emit_equations(e);
  emit_sizes(e);
  e->plan->schedule->slots(e);
  if (e->out->max_levels)
    buf_printf(&e->slots, "max_levels = %d,\n", e->out->max_levels);
  else
    buf_puts(&e->slots, "max_levels = false,\n");
  buf_printf(&e->slots, "arrays = {\n%s},\n}\n", buf_text(&e->arrays));
}

/* ---- the bridge ---- */

static void fill_source(struct emission *e) {
  const struct plan *p = e->plan;
  struct op_source *s = e->out;
  *s = (struct op_source){.dk = p->config.dk,
                          .dv = p->config.dv,
                          .chunk = p->config.chunk,
                          .dtype = p->config.dtype,
                          .pass = p->config.pass,
                          .threads = p->threads,
                          .smem_bytes = p->smem_bytes,
                          .blocks_a_head = p->blocks_a_head};
  snprintf(s->name, sizeof s->name, "%s", e->v->name);
  snprintf(s->entry, sizeof s->entry, "%s_%s", e->v->name, pass_name(p->config.pass));
  snprintf(s->arch, sizeof s->arch, "%s", p->config.arch);
}

static mkc_status render(struct emission *e, struct error *err) {
  const char *name = e->v->name;
  if (e->too_many)
    return error_set(err, MKC_E_NO_SCHEDULE, "%s reads and writes more than %d arrays", name,
                     OP_MAX_ARRAYS);
  struct buf plan = {0};
  plan_print(&plan, e->plan);
  e->out->plan = buf_steal(&plan);
  if (!e->out->plan || e->slots.failed || e->arrays.failed)
    return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory while emitting %s", name);
  return template_render(e->plan->schedule->template_name, buf_text(&e->slots), e->arena->allocator,
                         &e->out->text, err);
}

mkc_status emit_op(const struct variant *v, const struct plan *plan, struct arena *a,
                   struct op_source *ret, struct error *err) {
  struct emission e = {.v = v, .plan = plan, .arena = a, .out = ret};
  fill_source(&e);
  emit_slots(&e);
  const mkc_status status = render(&e, err);
  buf_finish(&e.slots);
  buf_finish(&e.arrays);
  if (status != MKC_OK) op_source_finish(ret);
  return status;
}
