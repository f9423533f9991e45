/* SPDX-License-Identifier: MIT
 * schedule_scan_slots.c - what templates/scan.k.c is rendered with: its arrays, the decay and the
 * scale as C text, and what they read once a head.
 */
#include "schedule_scan.h"

#include "emit.h"

#include <stdio.h>

enum { TILE_ALIGN = 16 }; /* tiles move in pieces of 16 bytes */

/* ---- expressions ---- */

/* The logarithms whose sum is the log decay of a token; returns how many. */
static int collect_logs(const struct branch *b, const struct expr **ret) {
  int n = 0;
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].log) ret[n++] = b->factors[i].log;
  for (int i = 0; i < b->nweights; i++)
    if (b->weights[i].log) ret[n++] = b->weights[i].log;
  return n;
}

/* The decay factor as the spec has it: "exp(g)". */
static void print_decay(struct buf *out, const struct branch *b) {
  const char *join = "";
  for (int i = 0; i < b->nfactors; i++) {
    if (!b->factors[i].diag) continue;
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

/* Returns whether there is a decay. */
static bool emit_decay(struct emission *e, const struct branch *b, struct expr_code *ret) {
  const int most = b->nfactors + b->nweights;
  const struct expr **logs = arena_array(e->arena, const struct expr *, most);
  const int n = collect_logs(b, logs);
  if (n == 0) {
    buf_puts(&e->slots, "decay = false,\n");
    return false;
  }
  struct buf text = {0};
  print_decay(&text, b);
  expr_code(logs, n, &e->plan->config, e->arena, ret);
  emit_code(&e->slots, "decay", ret, buf_text(&text));
  buf_finish(&text);
  return true;
}

static bool emit_scale(struct emission *e, const struct expr *scale, struct expr_code *ret) {
  if (scale->op == OP_CONST && scale->value == 1) {
    buf_puts(&e->slots, "scale = false,\n");
    return false;
  }
  expr_code(&scale, 1, &e->plan->config, e->arena, ret);
  emit_code(&e->slots, "scale", ret, "");
  return true;
}

/* What the kernel reads once a head: symbols, then params. */
static void emit_per_head(struct emission *e, const struct leaf_list *leaves, bool head,
                          bool heads) {
  buf_puts(&e->slots, "per_head = { ");
  if (head) buf_puts(&e->slots, "{ field = \"head\", of = \"head\" }, ");
  if (heads) buf_puts(&e->slots, "{ field = \"heads\", of = \"a.H\" }, ");
  for (int i = 0; i < leaves->n; i++)
    if (leaves->at[i]->param)
      buf_printf(&e->slots, "{ field = \"param_%s\" }, ", leaves->at[i]->name);
  buf_puts(&e->slots, "},\n");
}

/* ---- arrays ---- */

static void emit_role(struct emission *e, const char *role, const char *name, const char *axes) {
  emit_array(e, role, emit_array_of(name, axes, e->plan->config.dtype, TILE_ALIGN));
}

static void emit_leaf(struct emission *e, const struct leaf *leaf) {
  char field[64];
  snprintf(field, sizeof field, "%s_%s", leaf->param ? "param" : "in", leaf->name);
  emit_array(e, field, emit_array_of(leaf->name, leaf->param ? "H" : "BTH", MKC_F32, 4));
}

static void emit_output(struct emission *e, const char *name, const char *axes, mkc_dtype dtype,
                        int align, int optional) {
  struct op_array x = emit_array_of(name, axes, dtype, align);
  x.output = 1;
  x.optional = optional;
  emit_array(e, name, x);
}

/* q, k, v, what the expressions read, then the state and the output. */
static void emit_arrays(struct emission *e, const struct branch *b,
                        const struct leaf_list *leaves) {
  emit_role(e, "q", b->q->leaf->name, "BTHk");
  emit_role(e, "k", b->k->leaf->name, "BTHk");
  emit_role(e, "v", b->v->leaf->name, "BTHv");
  for (int i = 0; i < leaves->n; i++) emit_leaf(e, leaves->at[i]);
  struct op_array h0 = emit_array_of("h0", "BHkv", MKC_F32, 4);
  h0.optional = 1;
  emit_array(e, "h0", h0);
  emit_output(e, "o", "BTHv", e->plan->config.dtype, TILE_ALIGN, 0);
  emit_output(e, "ht", "BHkv", MKC_F32, 4, 1);
}

void schedule_scan_slots(struct emission *e) {
  const struct branch *b = &e->v->branches[0];
  struct expr_code decay = {0}, scale = {0};
  struct leaf_list leaves = {0};
  buf_printf(&e->slots, "dv_tile = %d, stages = %d,\n", e->plan->dv_tile, e->plan->stages);
  if (emit_decay(e, b, &decay))
    for (int i = 0; i < decay.leaves.n; i++) leaf_list_add(&leaves, decay.leaves.at[i]);
  if (emit_scale(e, b->scale, &scale))
    for (int i = 0; i < scale.leaves.n; i++) leaf_list_add(&leaves, scale.leaves.at[i]);
  emit_per_head(e, &leaves, decay.uses_head || scale.uses_head,
                decay.uses_heads || scale.uses_heads);
  emit_arrays(e, b, &leaves);
  expr_code_finish(&decay);
  expr_code_finish(&scale);
}
