/* SPDX-License-Identifier: MIT
 * schedule_scan_slots.c - what templates/scan.k.c is rendered with: its arrays, the decay and the
 * scale as C text, and what they read once a head.
 */
#include "schedule_scan.h"

#include <stdio.h>

/* The bytes of a tile's row that move at once: 16, or fewer where a row of so many channels or the
 * caller's strides are no multiple. */
static int piece_bytes(const struct gen_config *c, int channels) {
  int piece = c->align ? c->align : 16;
  while (2 * channels % piece) piece /= 2;
  return piece;
}

static int align_of_axis(const struct gen_config *c, enum axis axis) {
  return piece_bytes(c, axis == AXIS_DK ? c->dk : c->dv);
}

/* ---- expressions ---- */

/* The logarithms whose sum is the log decay of a token; returns how many. */
static int collect_logs(const struct branch *b, struct expr_term *ret) {
  int n = 0;
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].log) ret[n++] = (struct expr_term){b->factors[i].log, false};
  for (int i = 0; i < b->nweights; i++)
    if (b->weights[i].log) ret[n++] = (struct expr_term){b->weights[i].log, false};
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

/* One expression of the kernel, or `key = false` where there is none. */
static void emit_terms(struct emission *e, const char *key, const struct expr_term *terms, int n,
                       enum expr_join join, const char *text, struct expr_code *ret) {
  *ret = (struct expr_code){0};
  if (n == 0) {
    buf_printf(&e->slots, "%s = false,\n", key);
    return;
  }
  expr_code(terms, n, join, &e->plan->config, e->arena, ret);
  emit_code(&e->slots, key, ret, text);
}

static void emit_decay(struct emission *e, const struct branch *b, struct expr_code *ret) {
  const int most = b->nfactors + b->nweights;
  struct expr_term *logs = arena_array(e->arena, struct expr_term, most);
  struct buf text = {0};
  print_decay(&text, b);
  emit_terms(e, "decay", logs, collect_logs(b, logs), JOIN_SUM, buf_text(&text), ret);
  buf_finish(&text);
}

/* What k and v are multiplied by, as one weight of the write k v'. */
static void emit_write(struct emission *e, const struct scan_role *k, const struct scan_role *v,
                       struct expr_code *ret) {
  struct expr_term terms[2 * SCAN_MAX_TERMS];
  int n = 0;
  for (int i = 0; i < k->nterms; i++) terms[n++] = k->terms[i];
  for (int i = 0; i < v->nterms; i++) terms[n++] = v->terms[i];
  emit_terms(e, "write", terms, n, JOIN_PRODUCT, "", ret);
}

/* The tiles beside V, as entries of a list. */
static void emit_tiles(struct buf *out, const struct leaf_list *tiles) {
  for (int i = 0; i < tiles->n; i++)
    buf_printf(out, "{ field = \"in_%s\", tile = \"sIn_%s\" }, ", tiles->at[i]->name,
               tiles->at[i]->name);
}

/* The output's expression, and where its inputs over dv are: v's tile, or a tile of their own. */
static void emit_output_value(struct emission *e, const struct leaf *value,
                              const struct leaf_list *tiles, struct expr_code *ret) {
  const struct expr_term term = {e->v->output, false};
  emit_terms(e, "output", &term, term.e ? 1 : 0, JOIN_SUM, "", ret);
  buf_puts(&e->slots, "elements = { ");
  for (int i = 0; i < ret->leaves.n; i++)
    if (ret->leaves.at[i] == value)
      buf_printf(&e->slots, "{ field = \"in_%s\", tile = \"sV\" }, ", value->name);
  emit_tiles(&e->slots, tiles);
  buf_puts(&e->slots, "},\ntiles = { ");
  emit_tiles(&e->slots, tiles);
  buf_puts(&e->slots, "},\n");
}

static void emit_scale(struct emission *e, const struct expr *scale, struct expr_code *ret) {
  const struct expr_term term = {scale, false};
  const bool one = scale->op == OP_CONST && scale->value == 1;
  emit_terms(e, "scale", &term, one ? 0 : 1, JOIN_SUM, "", ret);
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

static void emit_role(struct emission *e, const char *role, const char *name, enum axis axis) {
  const struct gen_config *c = &e->plan->config;
  const char *axes = axis == AXIS_DK ? "BTHk" : "BTHv";
  emit_array(e, role, emit_array_of(name, axes, c->dtype, align_of_axis(c, axis)));
}

static void emit_leaf(struct emission *e, const struct leaf *leaf) {
  const mkc_dtype dtype = leaf->fp32 ? MKC_F32 : e->plan->config.dtype;
  char field[64];
  snprintf(field, sizeof field, "%s_%s", leaf->param ? "param" : "in", leaf->name);
  emit_array(e, field,
             emit_array_of(leaf->name, leaf->param ? "H" : "BTH", dtype, leaf->fp32 ? 4 : 2));
}

static void emit_output(struct emission *e, const char *name, const char *axes, mkc_dtype dtype,
                        int align, int optional) {
  struct op_array x = emit_array_of(name, axes, dtype, align);
  x.output = 1;
  x.optional = optional;
  emit_array(e, name, x);
}

/* The scalars of a token and the params that the expressions read, then the tiles of the output. */
static void emit_leaves(struct emission *e, const struct leaf_list *leaves,
                        const struct leaf_list *tiles) {
  char field[64];
  for (int i = 0; i < leaves->n; i++)
    if (leaves->at[i]->axis == AXIS_NONE) emit_leaf(e, leaves->at[i]);
  for (int i = 0; i < tiles->n; i++) {
    snprintf(field, sizeof field, "in_%s", tiles->at[i]->name);
    emit_role(e, field, tiles->at[i]->name, AXIS_DV);
  }
}

static void emit_states_and_output(struct emission *e) {
  struct op_array h0 = emit_array_of("h0", "BHkv", MKC_F32, 4);
  h0.optional = 1;
  emit_array(e, "h0", h0);
  emit_output(e, "o", "BTHv", e->plan->config.dtype, align_of_axis(&e->plan->config, AXIS_DV), 0);
  emit_output(e, "ht", "BHkv", MKC_F32, 4, 1);
}

/* decay, write, read: of a token; scale: of a head; output: of a channel. */
enum { CODE_DECAY, CODE_WRITE, CODE_READ, CODE_SCALE, CODE_OUTPUT, CODES };

static void emit_leaves_of(struct emission *e, struct expr_code codes[CODES],
                           const struct leaf_list *tiles) {
  struct leaf_list leaves = {0};
  bool head = false, heads = false;
  for (int i = 0; i < CODES; i++) {
    for (int j = 0; j < codes[i].leaves.n; j++) leaf_list_add(&leaves, codes[i].leaves.at[j]);
    head |= codes[i].uses_head;
    heads |= codes[i].uses_heads;
    expr_code_finish(&codes[i]);
  }
  emit_inputs(&e->slots, "inputs", &leaves);
  emit_per_head(e, &leaves, head, heads);
  emit_leaves(e, &leaves, tiles);
}

static void emit_tile_sizes(struct emission *e) {
  const struct plan *p = e->plan;
  buf_printf(&e->slots, "dk_pad = %d, dv_tile = %d, splits = %d, stages = %d,\n",
             (p->config.dk + 15) / 16 * 16, p->dv_tile, p->blocks_a_head, p->stages);
  buf_printf(&e->slots, "qk_piece = %d, v_piece = %d,\n", align_of_axis(&p->config, AXIS_DK),
             align_of_axis(&p->config, AXIS_DV));
}

void schedule_scan_slots(struct emission *e) {
  const struct branch *b = &e->v->branches[0];
  struct scan_role q, k, v;
  scan_role_split(b->q, AXIS_DK, &q);
  scan_role_split(b->k, AXIS_DK, &k);
  scan_role_split(b->v, AXIS_DV, &v);
  struct leaf_list tiles;
  scan_output_tiles(e->v, &tiles);
  struct expr_code codes[CODES];
  emit_tile_sizes(e);
  emit_decay(e, b, &codes[CODE_DECAY]);
  emit_write(e, &k, &v, &codes[CODE_WRITE]);
  emit_terms(e, "read", q.terms, q.nterms, JOIN_PRODUCT, "", &codes[CODE_READ]);
  emit_scale(e, b->scale, &codes[CODE_SCALE]);
  emit_output_value(e, v.leaf, &tiles, &codes[CODE_OUTPUT]);
  emit_role(e, "q", q.leaf->name, AXIS_DK);
  emit_role(e, "k", k.leaf->name, AXIS_DK);
  emit_role(e, "v", v.leaf->name, AXIS_DV);
  emit_leaves_of(e, codes, &tiles);
  emit_states_and_output(e);
}
