/* SPDX-License-Identifier: MIT
 * schedule_step_fenwick.c - the decode step under a Fenwick mask: when it applies, its candidates
 * and what they cost.
 *
 * The kernel is templates/step_fenwick.k.c: a block takes a head (or a part of its value channels)
 * and moves its states on, one after the other in registers, each read and written once. It serves
 * every transition that the step serves.
 *
 * How many states there are is a matter of the position, the bits that are set; costs suppose an
 * average one (schedule_step.h).
 */
#include "levels.h"
#include "schedule_step.h"

static const char *lacks(const struct variant *v, const struct gen_config *config,
                         struct arena *a) {
  const char *what = levels_lacks(&v->branches[0], a);
  if (!what && v->normaliser) what = "slot normaliser";
  return what ? what : step_lacks(v, config, a);
}

/* Mirrors SMEM_BYTES of the template: pairs, writes, merged. */
static int more_smem(const struct plan *p) {
  enum { ROW_LANES = 8 };
  const int dk = scan_round_up(p->config.dk, ROW_LANES);
  return 4 * (STEP_TOKENS * STEP_TOKENS + STEP_TOKENS * dk + dk * p->dv_tile);
}

static int candidates(const struct variant *v, const struct gen_config *config,
                      const struct target *target, struct plan *ret, struct arena *a) {
  const int n = step_candidates(&schedule_step_fenwick, v, config, target, STEP_LIVE_SLOTS,
                                more_smem, ret, a);
  for (int i = 0; i < n; i++)
    ret[i].given = arena_printf(a, "%d of %d slots live", STEP_LIVE_SLOTS, STEP_LEVELS - 1);
  return n;
}

const struct schedule schedule_step_fenwick = {
    .name = "step_fenwick",
    .template_name = "templates/step_fenwick.k.c",
    .pass = MKC_STEP,
    .about = "decode under a Fenwick mask: each live state through registers once a call",
    .lacks = lacks,
    .candidates = candidates,
    .slots = schedule_step_slots,
};
