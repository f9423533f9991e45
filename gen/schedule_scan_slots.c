/* SPDX-License-Identifier: MIT
 * schedule_scan_slots.c - what templates/scan.k.c is rendered with: its arrays, the decay and the
 * scale as C text, and what they read once a head.
 */
#include "row_code.h"
#include "schedule_scan.h"

#include <stdio.h>

/* The bytes of a tile's row that move at once: 16, or fewer where a row of so many channels or the
 * caller's strides are no multiple. */
static int piece_bytes(const struct gen_config *c, int channels) {
  const int element = scan_element_bytes(c);
  int piece = c->align ? c->align : 16;
  while (element * channels % piece) piece /= 2;
  return piece > element ? piece : element;
}

static int align_of_axis(const struct gen_config *c, enum axis axis) {
  return piece_bytes(c, axis == AXIS_DK ? c->dk : c->dv);
}

/* ---- expressions ---- */

void scan_add_reads(void *data, const struct expr_code *code) {
  struct scan_reads *reads = data;
  for (int i = 0; i < code->leaves.n; i++) leaf_list_add(&reads->leaves, code->leaves.at[i]);
  reads->head |= code->uses_head;
  reads->heads |= code->uses_heads;
}

int scan_collect_logs(const struct branch *b, const struct factor *but, struct expr_term *ret) {
  int n = 0;
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].log && &b->factors[i] != but)
      ret[n++] = (struct expr_term){b->factors[i].log, false};
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
    if (!b->weights[i].log) continue;
    buf_puts(out, join);
    expr_print(out, b->weights[i].expr);
    join = " * ";
  }
}

static void emit_terms(struct emission *e, const char *key, const struct expr_term *terms, int n,
                       enum expr_join join, const char *text, struct scan_reads *reads) {
  if (n == 0) {
    buf_printf(&e->slots, "%s = false,\n", key);
    return;
  }
  struct expr_code code;
  expr_code(terms, n, join, &e->plan->config, e->arena, &code);
  emit_code(&e->slots, key, &code, text);
  scan_add_reads(reads, &code);
  expr_code_finish(&code);
}

void scan_emit_terms(struct emission *e, const char *key, const struct expr_term *terms, int n,
                     enum expr_join join, struct scan_reads *reads) {
  emit_terms(e, key, terms, n, join, "", reads);
}

static void emit_decay(struct emission *e, const struct branch *b, struct scan_reads *reads) {
  const int most = b->nfactors + b->nweights;
  struct expr_term *logs = arena_array(e->arena, struct expr_term, most);
  struct buf text = {0};
  print_decay(&text, b);
  const bool channel = b->decay == DECAY_CHANNEL;
  const int n = scan_collect_logs(b, NULL, logs);
  emit_terms(e, "decay", logs, channel ? 0 : n, JOIN_SUM, buf_text(&text), reads);
  emit_terms(e, "channel_decay", logs, channel ? n : 0, JOIN_SUM, buf_text(&text), reads);
  buf_finish(&text);
}

/* What k and v are multiplied by, as one weight of the write k v'. */
static void emit_write(struct emission *e, const struct role *k, const struct role *v,
                       struct scan_reads *reads) {
  struct expr_term terms[2 * ROLE_MAX_TERMS];
  int n = 0;
  for (int i = 0; i < k->nterms; i++) terms[n++] = k->terms[i];
  for (int i = 0; i < v->nterms; i++) terms[n++] = v->terms[i];
  scan_emit_terms(e, "write", terms, n, JOIN_PRODUCT, reads);
}

void scan_emit_row(struct emission *e, const char *key, const struct expr *row,
                   struct scan_reads *reads) {
  struct row_code code;
  if (!row) {
    buf_printf(&e->slots, "%s = false,\n", key);
    return;
  }
  row_code(row, &e->plan->config, e->arena, &code);
  emit_row(&e->slots, key, &code);
  row_code_each(&code, scan_add_reads, reads);
  row_code_finish(&code);
}

/* The inputs over dv that have a tile of their own; one that v is made of comes from v's array. */
static void emit_tiles(struct emission *e, const struct leaf_list *tiles,
                       const struct leaf *value) {
  buf_puts(&e->slots, "tiles = { ");
  for (int i = 0; i < tiles->n; i++) {
    const char *name = tiles->at[i]->name;
    buf_printf(&e->slots, "{ field = \"in_%s\", tile = \"sIn_%s\", array = \"", name, name);
    buf_printf(&e->slots, tiles->at[i] == value ? "v\" }, " : "in_%s\" }, ", name);
  }
  buf_puts(&e->slots, "},\n");
}

static void emit_scale(struct emission *e, const struct expr *scale, struct scan_reads *reads) {
  const struct expr_term term = {scale, false};
  const bool one = scale->op == OP_CONST && scale->value == 1;
  emit_terms(e, "scale", &term, one ? 0 : 1, JOIN_SUM, "", reads);
}

/* What the kernel reads once a head: symbols, then params. */
static void emit_per_head(struct emission *e, const struct leaf_list *leaves, bool head,
                          bool heads) {
  buf_puts(&e->slots, "per_head = { ");
  if (head) buf_puts(&e->slots, "{ field = \"head\", of = \"head\" }, ");
  if (heads) buf_puts(&e->slots, "{ field = \"heads\", of = \"a.H\" }, ");
  for (int i = 0; i < leaves->n; i++)
    if (leaves->at[i]->param && leaves->at[i]->axis == AXIS_NONE)
      buf_printf(&e->slots, "{ field = \"param_%s\" }, ", leaves->at[i]->name);
  buf_puts(&e->slots, "},\n");
}

static const char *axis_text(enum axis axis) {
  return axis == AXIS_DK ? "dk" : axis == AXIS_DV ? "dv" : "levels";
}

/* Params that have a value for each channel, or for each level. */
static void emit_channel_params(struct emission *e, const struct leaf_list *leaves) {
  buf_puts(&e->slots, "channel_params = { ");
  for (int i = 0; i < leaves->n; i++)
    if (leaves->at[i]->param && leaves->at[i]->axis != AXIS_NONE)
      buf_printf(&e->slots, "{ field = \"param_%s\", over = \"%s\" }, ", leaves->at[i]->name,
                 axis_text(leaves->at[i]->axis));
  buf_puts(&e->slots, "},\n");
}

/* ---- arrays ---- */

void scan_emit_channels(struct emission *e, const char *field, const char *name, enum axis axis) {
  const struct gen_config *c = &e->plan->config;
  const char *axes = axis == AXIS_DK ? "BTHk" : "BTHv";
  emit_array(e, field, emit_array_of(name, axes, c->dtype, align_of_axis(c, axis)));
}

void scan_emit_role(struct emission *e, const char *slot, const struct role *role,
                    const char *array) {
  if (role->leaf->fp32) { /* made of the decays' input, in a tile that no array fills */
    buf_printf(&e->slots, "%s_field = \"%s\", %s_array = false,\n", slot, slot, slot);
    return;
  }
  buf_printf(&e->slots, "%s_field = \"in_%s\", %s_array = \"%s\",\n", slot, role->leaf->name, slot,
             array);
}

void scan_emit_roles(struct emission *e, const struct scan_roles *roles) {
  const bool shared = roles->q.leaf == roles->k.leaf;
  scan_emit_role(e, "q", &roles->q, "q");
  scan_emit_role(e, "k", &roles->k, shared ? "q" : "k");
  scan_emit_role(e, "v", &roles->v, "v");
  if (!roles->q.leaf->fp32) scan_emit_channels(e, "q", roles->q.leaf->name, AXIS_DK);
  if (!shared && !roles->k.leaf->fp32) scan_emit_channels(e, "k", roles->k.leaf->name, AXIS_DK);
  scan_emit_channels(e, "v", roles->v.leaf->name, AXIS_DV);
}

static void emit_leaf(struct emission *e, const struct leaf *leaf) {
  const mkc_dtype dtype = leaf->fp32 ? MKC_F32 : e->plan->config.dtype;
  const char *axes = !leaf->param                ? "BTH"
                     : leaf->axis == AXIS_DK     ? "Hk"
                     : leaf->axis == AXIS_DV     ? "Hv"
                     : leaf->axis == AXIS_LEVELS ? "HL"
                                                 : "H";
  char field[64];
  snprintf(field, sizeof field, "%s_%s", leaf->param ? "param" : "in", leaf->name);
  const int align = leaf->fp32 ? 4 : scan_element_bytes(&e->plan->config);
  emit_array(e, field, emit_array_of(leaf->name, axes, dtype, align));
}

static void emit_output(struct emission *e, const char *name, const char *axes, mkc_dtype dtype,
                        int align, int optional) {
  struct op_array x = emit_array_of(name, axes, dtype, align);
  x.output = 1;
  x.optional = optional;
  emit_array(e, name, x);
}

/* The scalars of a token and the params that the expressions read, then the tiles over dv. */
static void emit_leaves(struct emission *e, const struct leaf_list *leaves,
                        const struct leaf_list *tiles, const struct leaf *value) {
  char field[64];
  for (int i = 0; i < leaves->n; i++)
    if (leaves->at[i]->axis == AXIS_NONE || leaves->at[i]->param) emit_leaf(e, leaves->at[i]);
  for (int i = 0; i < tiles->n; i++) {
    if (tiles->at[i] == value) continue;
    snprintf(field, sizeof field, "in_%s", tiles->at[i]->name);
    scan_emit_channels(e, field, tiles->at[i]->name, AXIS_DV);
  }
}

static void emit_optional(struct emission *e, const char *name, const char *axes) {
  struct op_array x = emit_array_of(name, axes, MKC_F32, 4);
  x.optional = 1;
  emit_array(e, name, x);
}

/* Under fenwick there is a state a slot. Under a normaliser n0 and nt are the column of rowsum. */
static void emit_states_and_output(struct emission *e) {
  const bool column = e->v->normaliser != NULL;
  const char *axes = e->v->branches[0].fenwick ? "BSHkv" : "BHkv";
  emit_optional(e, "h0", axes);
  if (column) emit_optional(e, "n0", "BHk");
  emit_output(e, "o", "BTHv", e->plan->config.dtype, align_of_axis(&e->plan->config, AXIS_DV), 0);
  emit_output(e, "ht", axes, MKC_F32, 4, 1);
  if (column) emit_output(e, "nt", "BHk", MKC_F32, 4, 1);
  struct op_array cu_seqlens = emit_array_of("cu_seqlens", "C", MKC_I64, 4);
  cu_seqlens.optional = 1;
  emit_array(e, "cu_seqlens", cu_seqlens);
}

static void emit_tile_sizes(struct emission *e) {
  const struct plan *p = e->plan;
  buf_printf(&e->slots, "dk_pad = %d, dv_tile = %d, splits = %d, stages = %d,\n",
             (p->config.dk + 15) / 16 * 16, p->dv_tile, p->blocks_a_head, p->stages);
  buf_printf(&e->slots, "qk_piece = %d, v_piece = %d,\n", align_of_axis(&p->config, AXIS_DK),
             align_of_axis(&p->config, AXIS_DV));
}

void scan_emit_code(struct emission *e, const struct scan_roles *roles, struct scan_reads *reads) {
  const struct branch *b = &e->v->branches[0];
  const bool by_row = scan_output_by_row(e->v);
  const struct expr_term output = {e->v->output, false}, normaliser = {e->v->normaliser, false};
  emit_tile_sizes(e);
  emit_decay(e, b, reads);
  emit_write(e, &roles->k, &roles->v, reads);
  scan_emit_terms(e, "read", roles->q.terms, roles->q.nterms, JOIN_PRODUCT, reads);
  emit_scale(e, b->scale, reads);
  emit_terms(e, "normaliser", &normaliser, normaliser.e ? 1 : 0, JOIN_SUM, "", reads);
  emit_terms(e, "output", &output, output.e && !by_row ? 1 : 0, JOIN_SUM, "", reads);
  scan_emit_row(e, "row_q", roles->q.row, reads);
  scan_emit_row(e, "row_k", roles->k.row, reads);
  scan_emit_row(e, "row_v", roles->v.row, reads);
  scan_emit_row(e, "row_o", by_row ? output.e : NULL, reads);
}

void scan_emit_arrays(struct emission *e, const struct scan_roles *roles,
                      const struct scan_reads *reads) {
  struct leaf_list tiles;
  scan_tiles(e->v, roles, &tiles);
  emit_tiles(e, &tiles, roles->v.leaf);
  emit_inputs(&e->slots, "inputs", &reads->leaves);
  emit_per_head(e, &reads->leaves, reads->head, reads->heads);
  emit_channel_params(e, &reads->leaves);
  emit_leaves(e, &reads->leaves, &tiles, roles->v.leaf);
  emit_states_and_output(e);
}

void schedule_scan_slots(struct emission *e) {
  struct scan_roles roles;
  struct scan_reads reads = {.head = false};
  scan_roles_of(e->v, e->arena, &roles);
  scan_emit_code(e, &roles, &reads);
  scan_emit_roles(e, &roles);
  scan_emit_arrays(e, &roles, &reads);
}
