/* SPDX-License-Identifier: MIT
 * schedule_delta.c - the portable delta rule: when it applies, its candidates and what they cost.
 *
 * The kernel is templates/delta.k.c: one pass, one block a head (or a part of its value channels),
 * mma.sync, cp.async, the state in registers. It serves the delta rule and its form with an erase
 * vector of its own, with at most a scalar decay.
 */
#include "schedule_delta.h"

#include "expr.h"

#include <math.h>

/* A chunk of 128 has no room for its tiles; and L and P grow with its square. */
static const int all_chunks[] = {64, 32, 16};
enum { NCHUNKS = sizeof all_chunks / sizeof *all_chunks, STAGES = 2 };

const char *delta_lacks_in_form(const struct branch *b, struct arena *a, struct delta_form *f) {
  const char *what = delta_form_of(b, a, f);
  if (what) return what;
  for (int i = 0; i < f->nterms; i++) {
    const char *bad = expr_not_emitted(f->terms[i].e, AXIS_NONE);
    if (bad) return arena_printf(a, "slot transition: %s", bad);
  }
  return NULL;
}

static const char *lacks_in_transition(const struct branch *b, struct arena *a) {
  struct delta_form form;
  if (b->delta == DELTA_LOWRANK) return "slot transition: outer(b, a) with b not along k";
  if (b->decay == DECAY_CHANNEL) return "slot transition: a decay over dk";
  return delta_lacks_in_form(b, a, &form);
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  if (v->branches[0].delta == DELTA_PLAIN) return "slot transition: nothing that erases";
  if (v->normaliser) return "slot normaliser";
  const char *what = scan_lacks_in_slots(v, a);
  if (!what) what = lacks_in_transition(&v->branches[0], a);
  return what ? what : scan_lacks_in_config(config, all_chunks, NCHUNKS, a);
}

/* ---- sizes: what the template's enum computes, too ---- */

int delta_table_floats(const struct gen_config *c, const struct branch *b,
                       const struct delta_form *f) {
  const int row = c->chunk < 32 ? 32 : c->chunk, of_a_sum = c->dtype == MKC_F32 ? 2 : 1;
  const struct scan_roles *r = &f->roles;
  const int weights = (r->k.nterms + r->v.nterms > 0) + (f->nterms > 0) + (r->q.nterms > 0);
  const int sums = 1 + (f->decayed_with != NULL);
  const bool summed = b->decay != DECAY_NONE && b->decay != DECAY_CHANNEL; /* by the token */
  return weights * row + (summed ? (of_a_sum * sums + 3) * row + 16 : 0);
}

int delta_p_tiles(const struct gen_config *c) {
  return c->dtype == MKC_F32 ? 2 : 4;
}

/* Mirrors SMEM_BYTES of the template; the CPU device refuses a launch with less. */
static int smem_bytes(const struct plan *p, const struct variant *v, const struct delta_form *f) {
  enum { PAD = 8, DIAGONAL_ROW = 24 }; /* elements and floats a row */
  const int chunk = p->config.chunk, keys = *delta_vector_tile(f) == 'e' ? 3 : 2;
  struct leaf_list tiles;
  scan_tiles(v, &f->roles, &tiles);
  const int qk_tile = chunk * (scan_round_up(p->config.dk, 16) + PAD);
  const int v_tile = chunk * (p->dv_tile + PAD), p_tile = chunk * (chunk + PAD);
  const int stage = keys * qk_tile + (1 + tiles.n) * v_tile;
  const int floats = chunk * DIAGONAL_ROW + 2 * delta_table_floats(&p->config, &v->branches[0], f);
  const int elements = p->stages * stage + delta_p_tiles(&p->config) * p_tile + v_tile;
  return scan_element_bytes(&p->config) * elements + 4 * floats;
}

/* Registers a thread wants: the accumulators of the state, of a chunk's output and of X',
 * fragments, addresses. Fitted to what ptxas takes. */
static int registers_wanted(const struct gen_config *c) {
  if (c->dtype == MKC_F32) return scan_round_up(c->dk, 16) / 2 + 3 * c->chunk / 2 + 100;
  return scan_round_up(c->dk, 16) / 2 + 5 * c->chunk / 4 + 96;
}

/* What a block takes to move on by a chunk, in ns a token: the solution, block of 16 by block of
 * 16, which no other warp hides, and a part for each warp that shares the SM. An estimate from the
 * number of instructions; an H100 took a tenth to a quarter more (docs/PERFORMANCE.md). */
static void predict_steps(struct plan *p, const struct variant *v, const struct delta_form *f) {
  enum { EXP2_CLOCKS = 8 }; /* see row_cost.c */
  const double ns_a_token = 1e3 / p->config.chunk, size = p->config.chunk / 64.0;
  p->alone_ns = (1.0 + size) * ns_a_token;
  p->share_ns = p->threads / 32 * size * (0.15 + 0.003 * p->config.dk) * ns_a_token;
  p->share_ns *= scan_products(&p->config);
  const struct expr *vector = f->vector.row;
  scan_add_clocks(p, scan_roles_clocks(p, v, &f->roles));
  if (*delta_vector_tile(f) == 'e') scan_add_clocks(p, scan_rows_clocks(&vector, 1, p->config.dk));
  if (v->branches[0].decay != DECAY_NONE) /* of what is between two tokens, in L and in P */
    scan_add_clocks(p, (p->config.chunk + 16) / 32.0 * EXP2_CLOCKS);
}

/* Bytes, FLOPs, and what they take. */
static void predict_rates(struct plan *p, double other_bytes) {
  const double dk = p->config.dk, dv = p->config.dv, again = p->blocks_a_head - 1;
  const double chunk = p->config.chunk;
  const struct target *t = p->target;
  const double element = scan_element_bytes(&p->config), products = scan_products(&p->config);
  p->bytes = element * (2 * dk + 2 * dv) + other_bytes;
  p->flops = 6 * dk * dv + 4 * chunk * (dk + dv);
  const double memory = p->bytes / t->copy_gbs;
  p->floor_ns = fmax(memory, p->flops * products / t->mma_tflops / 1e3);
  /* what is issued: in 16 bits U counts twice, P U and the solution three times, but nothing above
   * the diagonal */
  const double issued = products > 1 ? products * (6 * dk * dv + (chunk + 16) * (2 * dk + 2 * dv))
                                     : 8 * dk * dv + (chunk + 16) * (2 * dk + 6 * dv);
  const double tensor = issued / t->mma_tflops / 1e3;
  /* each further part of a head reads q and k again, from L2, and computes L and P again */
  const double l2 = 2 * element * dk * again / (2 * t->copy_gbs);
  const double tensor_again = 2 * products * (chunk + 16) * dk * again / t->mma_tflops / 1e3;
  p->rate_ns = fmax(memory + l2, tensor + tensor_again);
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  struct delta_form form;
  delta_form_of(&v->branches[0], a, &form);
  const int n = scan_candidates(&schedule_delta, config, target, all_chunks, NCHUNKS, STAGES, ret);
  const double vector =
      *delta_vector_tile(&form) == 'e' ? scan_element_bytes(config) * config->dk : 0;
  for (int i = 0; i < n; i++) {
    struct plan *p = &ret[i];
    p->smem_bytes = smem_bytes(p, v, &form);
    scan_fit(p, v, &form.roles, registers_wanted(&p->config), a);
    predict_steps(p, v, &form);
    predict_rates(p, scan_other_bytes(v, &form.roles, config) + vector);
  }
  return n;
}

const struct schedule schedule_delta = {
    .name = "delta",
    .template_name = "templates/delta.k.c",
    .pass = MKC_FORWARD,
    .about =
        "the delta rule in one pass, mma.sync and cp.async, state in registers (sm_80 and newer)",
    .lacks = lacks,
    .candidates = candidates,
    .slots = schedule_delta_slots,
};
