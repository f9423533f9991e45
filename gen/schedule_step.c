/* SPDX-License-Identifier: MIT
 * schedule_step.c - the decode step: when it applies, its candidates and what they cost.
 *
 * The kernel is templates/step.k.c: a block takes a head (or a part of its value channels), holds
 * its state in registers for all tokens of the call, and reads and writes it once. It serves every
 * transition: decays over nothing, dk or dv, delta rules, low rank; not a normaliser, a score or
 * steps, and the Fenwick mask by a schedule of its own, which shares what is here.
 */
#include "schedule_step.h"
#include "levels.h"
#include "row_code.h"

enum { ROW_LANES = 8 };

/* "concat in concat(q, k)" */
static const char *lacks_in_text(const char *bad, const struct expr *e, struct arena *a) {
  struct buf text = {0};
  expr_print(&text, e);
  bad = arena_printf(a, "%s in %s", bad, buf_text(&text));
  buf_finish(&text);
  return bad;
}

static const char *lacks_in_scalars(const struct step_scalars *values, struct arena *a) {
  for (int i = 0; i < values->n; i++)
    for (int j = 0; j < values->at[i].n; j++) {
      const struct expr *e = values->at[i].terms[j].e;
      const char *bad = row_code_lacks(e, AXIS_NONE);
      if (bad) return lacks_in_text(bad, e, a);
    }
  return NULL;
}

static const char *lacks_in_vectors(const struct step_vectors *values, enum axis axis,
                                    struct arena *a) {
  for (int i = 0; i < values->n; i++) {
    const char *bad = row_code_lacks(values->at[i], axis);
    if (bad) return lacks_in_text(bad, values->at[i], a);
  }
  return NULL;
}

static const char *lacks_in_branch(const struct branch *b, struct arena *a) {
  struct step_program p;
  const char *what = NULL;
  if (!b->k->axis) return "slot k: a scalar, so that dk is 1";
  if (!step_program(b, &p)) return "slot transition: too many factors";
  what = lacks_in_scalars(&p.scalars, a);
  if (!what) what = lacks_in_vectors(&p.rows, AXIS_DK, a);
  if (!what) what = lacks_in_vectors(&p.columns, AXIS_DV, a);
  return what;
}

static const char *lacks_in_normaliser(const struct variant *v, struct arena *a) {
  if (!v->normaliser) return NULL;
  if (v->branches[0].log_write) return "slot normaliser: with a write gate that is exp";
  const char *bad = expr_not_emitted(v->normaliser, AXIS_NONE);
  return bad ? arena_printf(a, "slot normaliser: %s", bad) : NULL;
}

const char *step_lacks(const struct variant *v, const struct gen_config *config, struct arena *a) {
  const struct branch *b = &v->branches[0];
  if (v->nbranches > 1) return "slot branches";
  if (v->steps) return "slot steps";
  if (!b->linear) return "slot score: anything but qk";
  const char *what = lacks_in_branch(b, a);
  if (!what) what = lacks_in_normaliser(v, a);
  const char *bad = row_code_lacks(v->output, AXIS_DV);
  if (!what && bad) what = arena_printf(a, "slot output: %s", bad);
  if (!what && config->chunk) what = "--chunk: a step has no chunks";
  if (!what) what = scan_lacks_in_channels("dk", config->dk, a);
  if (!what) what = scan_lacks_in_channels("dv", config->dv, a);
  return what;
}

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const char *what = step_lacks(v, config, a);
  return what ? what : scan_lacks_in_mask(&v->branches[0]);
}

/* ---- sizes: what the template's enum computes, too ---- */

/* The values of STEP_TOKENS tokens, and o before the output expression. */
static int values_bytes(const struct plan *p, const struct variant *v,
                        const struct step_program *program) {
  const int rows = program->rows.n * scan_round_up(p->config.dk, ROW_LANES);
  const int columns = (program->columns.n + 1) * p->dv_tile;
  const int weights = v->branches[0].fenwick ? MAX_LEVELS : 0;
  return 4 * STEP_TOKENS * (rows + columns + weights + scan_round_up(program->scalars.n, 4));
}

/* Registers a thread wants: its part of the state, sums over rows, addresses, of slots too. */
static int registers_wanted(const struct plan *p, const struct variant *v,
                            const struct step_program *program) {
  const int columns = v->normaliser ? 5 : 4;
  return scan_round_up(p->config.dk, ROW_LANES) / ROW_LANES * columns +
         columns * program->nprojections + (v->branches[0].fenwick ? 56 : 48);
}

static int smaller(int x, int y) {
  return x < y ? x : y;
}

static int resident_blocks(const struct plan *p) {
  enum { MAX_THREADS = 1536, MAX_BLOCKS = 16, SYSTEM_SMEM = 1024 }; /* of an SM; of a block */
  const int wanted = scan_round_up(p->registers, 8);
  const int by_registers = p->target->registers / (wanted * p->threads);
  const int by_smem = p->target->smem_sm / (p->smem_bytes + SYSTEM_SMEM);
  const int by_threads = smaller(MAX_THREADS / p->threads, MAX_BLOCKS);
  const int blocks = smaller(smaller(by_registers, by_smem), by_threads);
  return blocks > 1 ? blocks : 1;
}

/* Bytes of the inputs and the output of a token of one head. */
static double token_bytes(const struct variant *v, const struct gen_config *c) {
  const double element = c->dtype == MKC_F32 ? 4 : 2;
  double bytes = element * c->dv;
  for (int i = 0; i < v->nleaves; i++) {
    const struct leaf *leaf = v->leaves[i];
    const int n = leaf->axis == AXIS_DK       ? c->dk
                  : leaf->axis == AXIS_DV     ? c->dv
                  : leaf->axis == AXIS_LEVELS ? STEP_LEVELS
                                              : 1;
    if (!leaf->param) bytes += (leaf->fp32 ? 4 : element) * n;
  }
  return bytes;
}

/* One token of each head: its states read and written; or the time of a block, which is mostly the
 * latency of memory and which others on the SM don't lengthen. */
static void predict(struct plan *p, const struct variant *v, const struct step_program *program,
                    int states) {
  const double dk = p->config.dk, dv = p->config.dv;
  p->bytes = states * 2 * 4 * dk * dv + token_bytes(v, &p->config);
  p->flops = states * 2 * dk * dv * (program->nops + program->nprojections);
  p->floor_ns = p->rate_ns = p->bytes / p->target->copy_gbs;
  p->alone_ns = 1500 + 1500 * states;
}

static bool has_tile(const struct plan *plans, int n, int tile) {
  for (int i = 0; i < n; i++)
    if (plans[i].dv_tile == tile) return true;
  return false;
}

int step_candidates(const struct schedule *schedule, const struct variant *v,
                    const struct gen_config *config, const struct target *target, int states,
                    int (*more_smem)(const struct plan *p), struct plan *ret, struct arena *a) {
  static const int tiles[] = {64, 32, 16, 128, 256};
  struct step_program program;
  int n = 0;
  step_program(&v->branches[0], &program);
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
    const int tile = smaller(tiles[i], scan_round_up(config->dv, 16));
    if (has_tile(ret, n, tile)) continue;
    struct plan *p = &ret[n++];
    *p = (struct plan){.schedule = schedule, .target = target, .config = *config};
    p->dv_tile = tile;
    p->threads = tile / 16 * 32;
    p->blocks_a_head = (config->dv + tile - 1) / tile;
    p->smem_bytes = values_bytes(p, v, &program) + (more_smem ? more_smem(p) : 0);
    p->registers = registers_wanted(p, v, &program);
    p->blocks_an_sm = resident_blocks(p);
    const int registers = p->registers * p->threads;
    if (registers > target->registers)
      p->reason = arena_printf(a, "wants %d registers; an SM has %d", registers, target->registers);
    else if (p->smem_bytes > target->smem_block)
      p->reason = "wants more shared memory than a block has";
    else if (p->blocks_a_head > 1 && row_code_reduces(v->output))
      p->reason = "the output wants all channels in one block";
    else if (p->blocks_a_head > 1 && v->normaliser)
      p->reason = "the column of rowsum has one block that moves it on";
    predict(p, v, &program, states);
  }
  return n;
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  return step_candidates(&schedule_step, v, config, target, 1, NULL, ret, a);
}

const struct schedule schedule_step = {
    .name = "step",
    .template_name = "templates/step.k.c",
    .pass = MKC_STEP,
    .about = "decode: the state in registers, read and written once a call",
    .lacks = lacks,
    .candidates = candidates,
    .slots = schedule_step_slots,
};
