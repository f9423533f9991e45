/* SPDX-License-Identifier: MIT
 * schedule_channel.c - the portable scan with a decay for each channel of dk: when it applies, its
 * candidates and what they cost.
 *
 * The kernel is templates/channel.k.c: one pass, one block a head (or a part of its value
 * channels), mma.sync, cp.async, the state in registers. It serves the plain family with a decay
 * over dk, alone or beside decays that are scalars.
 */
#include "schedule_channel.h"

#include <math.h>

#include <stdio.h>

enum { STAGES = 2 };

static const int all_chunks[] = {64, 32, 16};
enum { NCHUNKS = sizeof all_chunks / sizeof *all_chunks };

static const char *lacks_in_transition(const struct branch *b) {
  if (b->delta == DELTA_RULE) return "slot transition: delta";
  if (b->delta != DELTA_PLAIN) return "slot transition: outer";
  return b->decay == DECAY_CHANNEL ? NULL : "slot transition: no decay over dk";
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const char *what = lacks_in_transition(&v->branches[0]);
  if (!what && v->normaliser) what = "slot normaliser";
  if (!what) what = scan_lacks_in_slots(v, a);
  return what ? what : scan_lacks_in_config(config, all_chunks, NCHUNKS, a);
}

/* ---- sizes: what the template's enum computes, too ---- */

/* Floats of a chunk's token table: the write and the read weight. Mirrors TABLE of the template. */
static int table_floats(const struct scan_roles *r, int chunk) {
  const int row = chunk < 32 ? 32 : chunk;
  return (r->k.nterms + r->v.nterms > 0 ? row : 0) + (r->q.nterms > 0 ? row : 0);
}

int channel_factor_bytes(const struct plan *p, const struct branch *b, int stages) {
  enum { BLOCK = 16 }; /* tokens */
  struct leaf_list inputs;
  scan_decay_inputs(b, &inputs);
  const int chunk = p->config.chunk, decay_tiles = inputs.n ? inputs.n * stages : 1;
  return 4 * (decay_tiles * chunk + chunk / BLOCK) * scan_round_up(p->config.dk, 16);
}

double channel_decay_clocks(const struct branch *b, double dk) {
  double clocks = 0;
  for (int i = 0; i < b->nfactors; i++)
    if (b->factors[i].log && b->factors[i].log->axis == AXIS_DK)
      clocks += dk / 32 * scan_channel_clocks(b->factors[i].log);
  return clocks;
}

/* Mirrors SMEM_BYTES of the template; the CPU device refuses a launch with less. */
static int smem_bytes(const struct plan *p, const struct variant *v,
                      const struct scan_roles *roles) {
  enum { PAD = 8, BLOCK = 16 }; /* elements a row; tokens of a block */
  const int chunk = p->config.chunk, dk = scan_round_up(p->config.dk, 16);
  struct leaf_list tiles;
  scan_tiles(v, roles, &tiles);
  const int v_tile = chunk * (p->dv_tile + PAD);
  const int stage = 2 * chunk * (dk + PAD) + (1 + tiles.n) * v_tile;
  const int elements = p->stages * stage + chunk * (BLOCK + PAD) + v_tile;
  return scan_element_bytes(&p->config) * elements + 2 * 4 * table_floats(roles, chunk) +
         channel_factor_bytes(p, &v->branches[0], p->stages);
}

/* Registers a thread wants: the accumulators of the state and of a chunk's output, fragments,
 * addresses. Fitted to what ptxas takes. */
static int registers_wanted(const struct gen_config *c) {
  if (c->dtype == MKC_F32) return scan_round_up(c->dk, 16) / 2 + c->chunk + 100;
  return scan_round_up(c->dk, 16) / 2 + c->chunk / 2 + 98;
}

/* What a block takes to move on by a chunk, in ns a token: its instructions, counted in sm_90a's
 * code for 16 tokens, and those of the spec's expressions. Barriers, and the chain from one 16
 * tokens to the next, hold up the block alone. */
static void predict_steps(struct plan *p, const struct variant *v, const struct scan_roles *roles) {
  const double clocks_a_ns = 1.7, dk = p->config.dk, warps = p->threads / 32;
  const double shared_work = 1100 + 26 * dk; /* the factors, P, q and k times the factors */
  const double of_a_warp = 170 + 1.25 * dk;  /* loads, the state */
  p->alone_ns = (1000.0 / p->config.chunk + 300 / 16.0) / clocks_a_ns;
  scan_add_clocks(p, (shared_work + warps * of_a_warp * scan_products(&p->config)) / 16);
  scan_add_clocks(p, scan_roles_clocks(p, v, roles) + channel_decay_clocks(&v->branches[0], dk));
}

/* Bytes, FLOPs, and what they take. */
static void predict_rates(struct plan *p, double other_bytes) {
  const double dk = p->config.dk, dv = p->config.dv, again = p->blocks_a_head - 1, block = 16;
  const struct target *t = p->target;
  const double element = scan_element_bytes(&p->config);
  p->bytes = element * (2 * dk + 2 * dv) + other_bytes;
  p->flops = 4 * dk * dv + 2 * block * (dk + dv);
  const double memory = p->bytes / t->copy_gbs,
               tensor = p->flops * scan_products(&p->config) / t->mma_tflops / 1e3;
  p->floor_ns = fmax(memory, tensor);
  /* each further part of a head reads q, k and the decays' input again, from L2 */
  const double l2 = (2 * element + 4) * dk * again / (2 * t->copy_gbs);
  p->rate_ns = fmax(memory + l2, tensor);
}

double channel_other_bytes(const struct variant *v, const struct scan_roles *roles,
                           const struct gen_config *c) {
  const int absent = roles->q.leaf->fp32 + roles->k.leaf->fp32; /* made of the decays' input */
  struct leaf_list inputs;
  scan_decay_inputs(&v->branches[0], &inputs);
  return scan_other_bytes(v, roles, c) +
         (double)c->dk * (4 * inputs.n - scan_element_bytes(c) * absent);
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  struct scan_roles roles;
  scan_roles_split(&v->branches[0], a, &roles);
  const int n =
      scan_candidates(&schedule_channel, config, target, all_chunks, NCHUNKS, STAGES, ret);
  for (int i = 0; i < n; i++) {
    struct plan *p = &ret[i];
    p->smem_bytes = smem_bytes(p, v, &roles);
    scan_fit(p, v, &roles, registers_wanted(&p->config), a);
    predict_steps(p, v, &roles);
    predict_rates(p, channel_other_bytes(v, &roles, config));
  }
  return n;
}

/* ---- slots ---- */

/* Bytes of a row of floats that move at once: dk is a multiple of 4. */
static int float_piece(const struct gen_config *c) {
  return c->align == 0 || c->align == 16 ? 16 : c->align == 8 ? 8 : 4;
}

/* decay_inputs = { { field = "in_g", tile = "sF" }, ... }: the factors take the place of the first;
 * none: the decays read params and scalars of a token only. */
void channel_emit_decay_inputs(struct emission *e, const struct branch *b) {
  const int piece = float_piece(&e->plan->config);
  struct leaf_list inputs;
  char field[64];
  scan_decay_inputs(b, &inputs);
  buf_printf(&e->slots, "decay_piece = %d, decay_inputs = { ", piece);
  for (int i = 0; i < inputs.n; i++) {
    const char *name = inputs.at[i]->name;
    snprintf(field, sizeof field, "in_%s", name);
    buf_printf(&e->slots, "{ field = \"%s\", tile = \"", field);
    buf_printf(&e->slots, i == 0 ? "sF\" }, " : "sIn_%s\" }, ", name);
    emit_array(e, field, emit_array_of(name, "BTHk", MKC_F32, piece));
  }
  buf_puts(&e->slots, "},\n");
}

static void slots(struct emission *e) {
  const struct branch *b = &e->v->branches[0];
  struct scan_roles roles;
  struct scan_reads reads = {.head = false};
  scan_roles_split(b, e->arena, &roles);
  scan_emit_code(e, &roles, &reads);
  scan_emit_roles(e, &roles);
  channel_emit_decay_inputs(e, b);
  scan_emit_arrays(e, &roles, &reads);
}

const struct schedule schedule_channel = {
    .name = "channel",
    .template_name = "templates/channel.k.c",
    .pass = MKC_FORWARD,
    .about =
        "decays over dk in one pass, mma.sync and cp.async, state in registers (sm_80 and newer)",
    .lacks = lacks,
    .candidates = candidates,
    .slots = slots,
};
