/* SPDX-License-Identifier: MIT
 * schedule_fenwick.c - the scan under a fenwick mask: when it applies, its candidates and what they
 * cost.
 *
 * The kernel is templates/fenwick.k.c: all levels in one pass, one block a head (or a part of its
 * value channels), mma.sync, cp.async. It serves the plain family with at most a scalar decay.
 */
#include "levels.h"

#include <math.h>

static const int all_chunks[] = {64, 32, 16};
enum { NCHUNKS = sizeof all_chunks / sizeof *all_chunks, MOST_STAGES = 2 };

static const char *lacks_in_transition(const struct branch *b) {
  if (b->delta == DELTA_RULE) return "slot transition: delta";
  if (b->delta != DELTA_PLAIN) return "slot transition: outer";
  return b->decay == DECAY_CHANNEL ? "slot transition: a decay over dk" : NULL;
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const char *what = levels_lacks(&v->branches[0], a);
  if (!what) what = lacks_in_transition(&v->branches[0]);
  if (!what && v->normaliser) what = "slot normaliser: under fenwick";
  if (!what) what = scan_lacks_but_mask(v, a);
  return what ? what : scan_lacks_in_config(config, all_chunks, NCHUNKS, a);
}

/* ---- sizes: what the template's enum computes, too ---- */

/* Of a state in the op's type, for a block. Mirrors SLOT of the template. */
static int slot_bytes(const struct plan *p) {
  return scan_element_bytes(&p->config) * scan_round_up(p->config.dk, 16) * p->dv_tile;
}

/* Mirrors SMEM_BYTES of the template without its slots; the CPU device refuses a launch with less.
 */
static int smem_bytes(const struct plan *p, const struct variant *v,
                      const struct scan_roles *roles) {
  enum { PAD = 8 }; /* elements a row */
  const struct branch *b = &v->branches[0];
  const int chunk = p->config.chunk;
  struct leaf_list tiles;
  scan_tiles(v, roles, &tiles);
  const int v_tile = chunk * (p->dv_tile + PAD);
  const int stage = 2 * chunk * (scan_round_up(p->config.dk, 16) + PAD) + (1 + tiles.n) * v_tile;
  return scan_element_bytes(&p->config) * (p->stages * stage + chunk * (chunk + PAD) + v_tile) +
         p->stages * levels_tile_bytes(b, chunk) + 2 * 4 * scan_table_floats(b, roles, &p->config);
}

/* Registers a thread wants: the accumulators of a state, of a chunk's output and of a level's part
 * of it, fragments, addresses. Fitted to what ptxas takes. */
static int registers_wanted(const struct plan *p) {
  const int dk = scan_round_up(p->config.dk, 16), chunk = p->config.chunk;
  if (p->config.dtype == MKC_F32) return (dk / 2 + chunk) / (p->halves ? 2 : 1) + 130;
  if (p->halves && chunk * dk <= 64 * 128) return chunk * dk / 128 + 122; /* keeps its rows of Q */
  return (dk / 2 + chunk) / (p->halves ? 2 : 1) + 90;
}

/* The states in shared memory: as many as there is room for beside what the blocks of an SM need.
 */
static void place_slots(struct plan *p) {
  const int block = p->target->smem_sm / p->blocks_an_sm - 1024; /* 1 KiB each is the system's */
  const int most = block < p->target->smem_block ? block : p->target->smem_block;
  const int room = (most - p->smem_bytes - 16) / slot_bytes(p);
  if (p->reason || room <= 0) return;
  p->near_slots = room < 16 ? room : 16;
  p->smem_bytes = scan_round_up(p->smem_bytes, 16) + p->near_slots * slot_bytes(p);
}

/* ---- cost, at the length that stands for all (levels.h) ---- */

/* What a block takes to move on by a chunk, in ns a token: what the scan takes, and for each state
 * its part of O, with the loads of q and of the state that it waits for. */
static void predict_steps(struct plan *p) {
  const double ns_a_token = 1e3 / p->config.chunk, size = p->config.chunk / 64.0;
  const double warps = p->threads / 32 / (p->halves ? 1.7 : 1), waits = p->halves ? 0.6 : 1;
  const double of_slot = 0.001 * p->config.dk * levels_live_slots(p->config.chunk);
  p->alone_ns = waits * (0.9 + 0.2 * levels_live_slots(p->config.chunk)) * ns_a_token;
  p->share_ns = warps * size * (0.165 + 0.0011 * p->config.dk + of_slot) * ns_a_token *
                scan_products(&p->config);
}

static void predict_rates(struct plan *p, double other_bytes) {
  const double dk = p->config.dk, dv = p->config.dv, again = p->blocks_a_head - 1;
  const double chunk = p->config.chunk;
  const struct target *t = p->target;
  const double mma_tflops = t->mma_tflops / scan_products(&p->config);
  const double element = scan_element_bytes(&p->config);
  p->bytes = element * (2 * dk + 2 * dv) + other_bytes;
  p->flops = 2 * dk * dv * (1 + levels_live_slots(p->config.chunk)) + 2 * chunk * (dk + dv);
  const double memory = p->bytes / t->copy_gbs, tensor = p->flops / mma_tflops / 1e3;
  p->floor_ns = fmax(memory, tensor);
  const double l2 = 2 * element * dk * again / (2 * t->copy_gbs);
  const double p_again = 2 * chunk * dk * again / mma_tflops / 1e3;
  p->rate_ns = fmax(memory + l2, tensor + p_again);
}

/* Each candidate once more, with two warps for 16 value channels, where there are rows and rows of
 * k for both. */
static int with_halves(struct plan *plans, int n) {
  int all = n;
  for (int i = 0; i < n; i++) {
    const struct plan *p = &plans[i];
    if (p->config.chunk < 32 || scan_round_up(p->config.dk, 16) % 32 != 0) continue;
    plans[all] = *p;
    plans[all++].halves = 2;
  }
  return all;
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  struct scan_roles roles;
  scan_roles_of(v, a, &roles);
  const int n = with_halves(ret, scan_candidates(&schedule_fenwick, config, target, all_chunks,
                                                 NCHUNKS, MOST_STAGES, ret));
  for (int i = 0; i < n; i++) {
    struct plan *p = &ret[i];
    p->smem_bytes = smem_bytes(p, v, &roles);
    scan_fit(p, v, &roles, registers_wanted(p), a);
    place_slots(p);
    predict_steps(p);
    predict_rates(p, scan_other_bytes(v, &roles, config) + levels_bytes(&v->branches[0]));
  }
  return n;
}

/* ---- slots ---- */

static void slots(struct emission *e) {
  struct scan_roles roles;
  struct scan_reads reads = {.head = false};
  scan_roles_of(e->v, e->arena, &roles);
  scan_emit_code(e, &roles, &reads);
  scan_emit_roles(e, &roles);
  levels_emit_weight(e, &reads);
  buf_printf(&e->slots, "near_slots = %d,\n", e->plan->near_slots);
  scan_emit_arrays(e, &roles, &reads);
  levels_emit_position(e, slot_bytes(e->plan));
}

const struct schedule schedule_fenwick = {
    .name = "fenwick",
    .template_name = "templates/fenwick.k.c",
    .pass = MKC_FORWARD,
    .about = "all levels of a fenwick mask in one pass, mma.sync and cp.async (sm_80 and newer)",
    .lacks = lacks,
    .candidates = candidates,
    .slots = slots,
};
