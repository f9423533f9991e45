/* SPDX-License-Identifier: MIT
 * schedule_channel_delta.c - the portable delta rule after a decay for each channel of dk: when it
 * applies, its candidates and what they cost.
 *
 * The kernel is templates/channel_delta.k.c: one pass, one block a head (or a part of its value
 * channels), mma.sync, cp.async, the state in registers. It serves the delta rule, or its form with
 * an erase vector of its own, where decays over dk act before it, alone or beside decays that are
 * scalars.
 */
#include "schedule_channel.h"
#include "schedule_delta.h"

#include <math.h>

enum { STAGES = 2 };

static const int all_chunks[] = {64, 32, 16};
enum { NCHUNKS = sizeof all_chunks / sizeof *all_chunks };

static const char *lacks_in_transition(const struct branch *b, struct arena *a) {
  struct delta_form form;
  if (b->delta == DELTA_LOWRANK)
    return "slot transition: outer(b, a) with b not along k, or a decay over dk after what erases";
  const char *what = delta_lacks_in_form(b, a, &form);
  if (!what && form.decayed_with)
    what = "slot transition: an outer that reads the state before a decay";
  return what;
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const struct branch *b = &v->branches[0];
  if (b->delta == DELTA_PLAIN) return "slot transition: nothing that erases";
  if (b->decay != DECAY_CHANNEL) return "slot transition: no decay over dk";
  if (v->normaliser) return "slot normaliser";
  const char *what = scan_lacks_in_slots(v, a);
  if (!what) what = lacks_in_transition(b, a);
  return what ? what : scan_lacks_in_config(config, all_chunks, NCHUNKS, a);
}

/* ---- sizes: what the template's enum computes, too ---- */

/* Mirrors SMEM_BYTES of the template; the CPU device refuses a launch with less. */
static int smem_bytes(const struct plan *p, const struct variant *v, const struct delta_form *f) {
  enum { PAD = 8, BLOCK = 16, DIAGONAL_ROW = 24 }; /* elements a row; tokens; floats a row */
  const int chunk = p->config.chunk;
  const char vector = *delta_vector_tile(f);
  struct leaf_list tiles;
  scan_tiles(v, &f->roles, &tiles);
  const int qk_tile = chunk * (scan_round_up(p->config.dk, 16) + PAD);
  const int v_tile = chunk * (p->dv_tile + PAD), p_tile = chunk * (BLOCK + PAD);
  const int stage = (vector == 'e' ? 3 : 2) * qk_tile + (1 + tiles.n) * v_tile;
  /* what rounding to 16 bits leaves of e and k, and e */
  const int keys = (p->config.dtype == MKC_F32 ? 0 : 2) + (vector == 'k');
  const int elements =
      p->stages * stage + keys * qk_tile + delta_p_tiles(&p->config) * p_tile + v_tile;
  const int floats = chunk * DIAGONAL_ROW + 2 * delta_table_floats(&p->config, &v->branches[0], f);
  return scan_element_bytes(&p->config) * elements + 4 * floats +
         channel_factor_bytes(p, &v->branches[0], 1);
}

/* Registers a thread wants: the accumulators of the state, of a chunk's output and of a block's X'
 * and U', fragments, addresses. Fitted to what ptxas takes. */
static int registers_wanted(const struct gen_config *c) {
  if (c->dtype == MKC_F32) return scan_round_up(c->dk, 16) / 2 + c->chunk + 110;
  return scan_round_up(c->dk, 16) / 2 + c->chunk / 2 + 118;
}

/* What a block takes to move on by a chunk, in ns a token; see schedule_channel.c. L is as much
 * again as P; the inverse and the solution hold up the block alone. */
static void predict_steps(struct plan *p, const struct variant *v, const struct delta_form *f) {
  const double clocks_a_ns = 1.7, dk = p->config.dk, warps = p->threads / 32;
  const double shared_work = 1700 + 48 * dk; /* L, the inverse, e, and what is there without them */
  const double of_a_warp = 300 + 2.4 * dk;   /* loads, U, the state */
  const struct expr *vector = f->vector.row;
  p->alone_ns = (2500.0 / p->config.chunk + 600 / 16.0) / clocks_a_ns;
  scan_add_clocks(p, (shared_work + warps * of_a_warp * scan_products(&p->config)) / 16);
  scan_add_clocks(p,
                  scan_roles_clocks(p, v, &f->roles) + channel_decay_clocks(&v->branches[0], dk));
  if (*delta_vector_tile(f) == 'e') scan_add_clocks(p, scan_rows_clocks(&vector, 1, p->config.dk));
}

/* Bytes, FLOPs, and what they take. */
static void predict_rates(struct plan *p, double other_bytes) {
  const double dk = p->config.dk, dv = p->config.dv, again = p->blocks_a_head - 1, block = 16;
  const struct target *t = p->target;
  const double element = scan_element_bytes(&p->config), products = scan_products(&p->config);
  p->bytes = element * (2 * dk + 2 * dv) + other_bytes;
  p->flops = 6 * dk * dv + 4 * block * (dk + dv);
  const double memory = p->bytes / t->copy_gbs;
  p->floor_ns = fmax(memory, p->flops * products / t->mma_tflops / 1e3);
  /* what is issued: in 16 bits U counts twice, and in the solution three times */
  const double issued =
      products > 1 ? products * (6 * dk * dv + 4 * block * dv) : 8 * dk * dv + 10 * block * dv;
  /* each further part of a head reads q, k and the decays' input again, from L2 */
  const double l2 = (2 * element + 4) * dk * again / (2 * t->copy_gbs);
  p->rate_ns = fmax(memory + l2, issued / t->mma_tflops / 1e3);
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  struct delta_form form;
  delta_form_of(&v->branches[0], a, &form);
  const int n =
      scan_candidates(&schedule_channel_delta, config, target, all_chunks, NCHUNKS, STAGES, ret);
  const double vector =
      *delta_vector_tile(&form) == 'e' ? scan_element_bytes(config) * config->dk : 0;
  for (int i = 0; i < n; i++) {
    struct plan *p = &ret[i];
    p->smem_bytes = smem_bytes(p, v, &form);
    scan_fit(p, v, &form.roles, registers_wanted(&p->config), a);
    predict_steps(p, v, &form);
    predict_rates(p, channel_other_bytes(v, &form.roles, config) + vector);
  }
  return n;
}

const struct schedule schedule_channel_delta = {
    .name = "channel_delta",
    .template_name = "templates/channel_delta.k.c",
    .pass = MKC_FORWARD,
    .about = "the delta rule after decays over dk in one pass, mma.sync and cp.async, state in "
             "registers (sm_80 and newer)",
    .lacks = lacks,
    .candidates = candidates,
    .slots = schedule_delta_slots,
};
