/* SPDX-License-Identifier: MIT
 * schedule_fenwick_eager.c - the Fenwick mask over the delta rule, over decays over dk, or over
 * both: when it applies, its candidates and what they cost.
 *
 * The kernel is templates/fenwick_eager.k.c: one pass, one block a head (or a part of its value
 * channels), mma.sync, cp.async. The states of the blocks of tokens before a chunk are in the
 * workspace, in fp32; each of them meets each chunk.
 */
#include "levels.h"
#include "schedule_channel.h"
#include "schedule_delta.h"

#include <math.h>

enum { STAGES = 2 };

static const int all_chunks[] = {64, 32, 16};
enum { NCHUNKS = sizeof all_chunks / sizeof *all_chunks };

static bool erases(const struct branch *b) {
  return b->delta != DELTA_PLAIN;
}

static const char *lacks_in_transition(const struct branch *b, struct arena *a) {
  struct delta_form form;
  const bool channel = b->decay == DECAY_CHANNEL;
  if (b->delta == DELTA_LOWRANK)
    return "slot transition: outer(b, a) with b not along k, or a decay over dk after what erases";
  if (!erases(b)) return channel ? NULL : "slot transition: nothing that erases, no decay over dk";
  const char *what = delta_lacks_in_form(b, a, &form);
  if (!what && channel && form.decayed_with)
    what = "slot transition: an outer that reads the state before a decay over dk";
  return what;
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const struct branch *b = &v->branches[0];
  const char *what = levels_lacks(b, a);
  if (!what && v->normaliser) what = "slot normaliser: under fenwick";
  if (!what) what = scan_lacks_but_mask(v, a);
  if (!what) what = lacks_in_transition(b, a);
  return what ? what : scan_lacks_in_config(config, all_chunks, NCHUNKS, a);
}

/* The form of a delta rule; of what does not erase its roles. */
static void form_of(const struct branch *b, struct arena *a, struct delta_form *ret) {
  *ret = (struct delta_form){.nterms = 0};
  if (erases(b))
    delta_form_of(b, a, ret);
  else
    scan_roles_split(b, a, &ret->roles);
}

/* ---- sizes: what the template's enum computes, too ---- */

/* Of a state, for a block. Mirrors SLOT of the template. */
static int slot_bytes(const struct plan *p) {
  return 4 * scan_round_up(p->config.dk, 16) * p->dv_tile;
}

/* Elements of what only a delta rule has: -L and -W', split, what rounding leaves of P and, where
 * decays over dk multiply them, of e and k, and e. In fp32 nothing is split or rounded. */
static int delta_elements(const struct plan *p, char vector, bool channel) {
  enum { PAD = 8 };
  const int chunk = p->config.chunk, dk = scan_round_up(p->config.dk, 16);
  const bool split = p->config.dtype != MKC_F32;
  const int keys = channel ? (split ? 2 : 0) + (vector == 'k') : 0;
  return (split ? 3 * chunk + 2 * dk : chunk + dk) * (chunk + PAD) + keys * chunk * (dk + PAD);
}

/* Mirrors SMEM_BYTES of the template; the CPU device refuses a launch with less. */
static int smem_bytes(const struct plan *p, const struct variant *v, const struct delta_form *f) {
  enum { PAD = 8, DIAGONAL_ROW = 24 }; /* elements and floats a row */
  const struct branch *b = &v->branches[0];
  const int chunk = p->config.chunk;
  const char vector = erases(b) ? *delta_vector_tile(f) : 0;
  const bool channel = b->decay == DECAY_CHANNEL;
  struct leaf_list tiles;
  scan_tiles(v, &f->roles, &tiles);
  const int qk_tile = chunk * (scan_round_up(p->config.dk, 16) + PAD);
  const int v_tile = chunk * (p->dv_tile + PAD), p_tile = chunk * (chunk + PAD);
  const int stage = (vector == 'e' ? 3 : 2) * qk_tile + (1 + tiles.n) * v_tile;
  const int elements = p->stages * stage + 2 * p_tile + v_tile +
                       (erases(b) ? delta_elements(p, vector, channel) : 0);
  const int floats =
      (erases(b) ? chunk * DIAGONAL_ROW : 0) + 2 * delta_table_floats(&p->config, b, f);
  return scan_element_bytes(&p->config) * elements + 4 * floats +
         (channel ? channel_factor_bytes(p, b, erases(b) ? 1 : p->stages) : 0) +
         p->stages * levels_tile_bytes(b, chunk);
}

/* Registers a thread wants: the accumulators of a state, of a chunk's output and of what it reads
 * of the state or takes to it, fragments, addresses. Fitted to what ptxas takes. */
static int registers_wanted(const struct gen_config *c) {
  if (c->dtype == MKC_F32) return scan_round_up(c->dk, 16) / 2 + 9 * c->chunk / 4 + 88;
  return scan_round_up(c->dk, 16) / 2 + 5 * c->chunk / 4 + 96;
}

/* ---- cost, at the length that stands for all (levels.h) ---- */

/* What a block takes to move on by a chunk, in ns a token: the transition, and for each state what
 * it meets. An estimate from the number of matrix operations, at the pace that an H100 has in the
 * flat delta rule. */
static void predict_steps(struct plan *p, const struct variant *v, const struct delta_form *f) {
  const struct branch *b = &v->branches[0];
  const double ns_a_token = 1e3 / p->config.chunk, size = p->config.chunk / 64.0;
  const double dk = p->config.dk, warps = p->threads / 32,
               slots = levels_live_slots(p->config.chunk) + 1;
  const double channel = b->decay == DECAY_CHANNEL ? 1 : 0, delta = erases(b) ? 1 : 0;
  const double shared = (0.25 + 0.006 * dk) * (1 + channel); /* us: L, P, W, by all warps */
  const double of_slot = (0.03 + 0.001 * dk) * (1 + 3 * delta);
  p->alone_ns = (1.0 + (1 + channel) * size + 0.5 * slots) * ns_a_token;
  p->share_ns = size * (shared + warps * slots * of_slot) * ns_a_token * scan_products(&p->config);
  scan_add_clocks(p, scan_roles_clocks(p, v, &f->roles));
  if (b->decay == DECAY_CHANNEL) scan_add_clocks(p, channel_decay_clocks(b, dk));
}

/* Bytes, FLOPs, and what they take. */
static void predict_rates(struct plan *p, const struct branch *b, double other_bytes) {
  const double dk = p->config.dk, dv = p->config.dv, again = p->blocks_a_head - 1;
  const double chunk = p->config.chunk, slots = levels_live_slots(p->config.chunk);
  const double products = erases(b) ? 5 : 1; /* of a state with a chunk, as issued */
  const struct target *t = p->target;
  const double mma_tflops = t->mma_tflops / scan_products(&p->config);
  const double element = scan_element_bytes(&p->config);
  p->bytes = element * (2 * dk + 2 * dv) + other_bytes;
  p->flops = 2 * dk * dv * (1 + (erases(b) ? 3 : 1) * slots) + 4 * chunk * (dk + dv);
  const double memory = p->bytes / t->copy_gbs;
  p->floor_ns = fmax(memory, p->flops / mma_tflops / 1e3);
  const double issued = 2 * dk * dv * (2 + products * slots) + (chunk + 16) * (6 * dk + 5 * dv);
  /* states go to L2 and back, once a chunk; each further part of a head reads q and k again */
  const double states = 8 * dk * dv * (slots + 1) / chunk, l2_gbs = 2 * t->copy_gbs;
  p->rate_ns =
      fmax(memory + (states + 2 * element * dk * again) / l2_gbs, issued / mma_tflops / 1e3);
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  const struct branch *b = &v->branches[0];
  struct delta_form form;
  form_of(b, a, &form);
  const int n =
      scan_candidates(&schedule_fenwick_eager, config, target, all_chunks, NCHUNKS, STAGES, ret);
  const double other = b->decay == DECAY_CHANNEL ? channel_other_bytes(v, &form.roles, config)
                                                 : scan_other_bytes(v, &form.roles, config);
  const double vector = erases(b) && *delta_vector_tile(&form) == 'e' ? 2.0 * config->dk : 0;
  for (int i = 0; i < n; i++) {
    struct plan *p = &ret[i];
    p->smem_bytes = smem_bytes(p, v, &form);
    scan_fit(p, v, &form.roles, registers_wanted(&p->config), a);
    predict_steps(p, v, &form);
    predict_rates(p, b, other + vector + levels_bytes(b));
  }
  return n;
}

/* ---- slots ---- */

static void slots(struct emission *e) {
  const struct branch *b = &e->v->branches[0];
  struct delta_form form;
  struct scan_reads reads = {.head = false};
  form_of(b, e->arena, &form);
  buf_printf(&e->slots, "delta = %s,\n", erases(b) ? "true" : "false");
  if (erases(b)) {
    delta_emit_code(e, &form, &reads);
    delta_emit_roles(e, &form);
  } else {
    scan_emit_code(e, &form.roles, &reads);
    scan_emit_roles(e, &form.roles);
    channel_emit_decay_inputs(e, b);
  }
  levels_emit_weight(e, &reads);
  scan_emit_arrays(e, &form.roles, &reads);
  levels_emit_position(e, slot_bytes(e->plan));
}

const struct schedule schedule_fenwick_eager = {
    .name = "fenwick_eager",
    .template_name = "templates/fenwick_eager.k.c",
    .pass = MKC_FORWARD,
    .about = "a fenwick mask over the delta rule and over decays over dk in one pass, each state "
             "through each chunk, mma.sync and cp.async (sm_80 and newer)",
    .lacks = lacks,
    .candidates = candidates,
    .slots = slots,
};
