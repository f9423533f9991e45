/* SPDX-License-Identifier: MIT
 * plan.c - asks every schedule, predicts each candidate's time, takes the cheapest.
 */
#include "plan.h"

#include <math.h>

const struct schedule *const schedules[] = {
    &schedule_scan,          &schedule_channel,      &schedule_delta,
    &schedule_channel_delta, &schedule_fenwick,      &schedule_fenwick_eager,
    &schedule_step,          &schedule_step_fenwick, NULL};
enum { NSCHEDULES = sizeof schedules / sizeof *schedules };

/* ---- cost ---- */

static double larger(double x, double y) {
  return x > y ? x : y;
}

/* Of the launch's blocks, those that run at once. */
static double wave_blocks(const struct plan *p) {
  return (double)p->target->sms * p->blocks_an_sm;
}

double plan_heads_a_wave(const struct plan *p) {
  return wave_blocks(p) / p->blocks_a_head;
}

/* ns in which each of the blocks that share an SM moves on by a token. */
static double step_ns(const struct plan *p, double blocks_an_sm) {
  return p->alone_ns + blocks_an_sm * p->share_ns;
}

/* ns a token that a launch for so many heads takes: whole waves, then what is left of the blocks,
 * spread over the SMs. */
static double launch_ns(const struct plan *p, double heads) {
  const double blocks = heads * p->blocks_a_head, wave = wave_blocks(p);
  const double whole = floor(blocks / wave), rest = blocks - whole * wave;
  return whole * step_ns(p, p->blocks_an_sm) +
         (rest > 0 ? step_ns(p, ceil(rest / p->target->sms)) : 0);
}

/* A token of one head: what its blocks' steps take, or memory and tensor cores if that is more. */
static void predict(struct plan *p) {
  const double heads = p->config.heads;
  p->predicted_ns = larger(p->rate_ns, step_ns(p, p->blocks_an_sm) / plan_heads_a_wave(p));
  p->cost_ns = heads > 0 ? larger(p->rate_ns, launch_ns(p, heads) / heads) : p->predicted_ns;
  p->waves = heads / plan_heads_a_wave(p);
}

/* ---- ranking ---- */

/* Cheaper first; what cannot run last; ties keep the schedule's own order. */
static bool better(const struct plan *x, const struct plan *y) {
  if (!x->reason != !y->reason) return !x->reason;
  return x->cost_ns < y->cost_ns;
}

static void sort(struct plan *plans, int n) {
  for (int i = 1; i < n; i++)
    for (int j = i; j > 0 && better(&plans[j], &plans[j - 1]); j--) {
      const struct plan swap = plans[j];
      plans[j] = plans[j - 1];
      plans[j - 1] = swap;
    }
}

static mkc_status unknown_arch(const char *arch, struct error *err) {
  error_set(err, MKC_E_ARCHITECTURE, "unknown architecture '%s'; known:", arch);
  for (int i = 0; target_at(i); i++) error_append(err, " %s", target_at(i)->arch);
  return err->status;
}

/* No schedule serves this variant: says what each lacks; those of other passes have nothing. */
static mkc_status no_schedule(const struct variant *v, const char *const *lacks,
                              struct error *err) {
  error_set(err, MKC_E_NO_SCHEDULE, "no schedule serves %s yet:", v->name);
  for (int i = 0; schedules[i]; i++)
    if (lacks[i]) error_append(err, "\n  %s: %s", schedules[i]->name, lacks[i]);
  error_append(err, "\n  note: `maskc check` and the reference run the whole language");
  return err->status;
}

/* Every candidate of every schedule of the pass that serves the variant, unsorted; lacks says why
 * one doesn't. */
static int all_candidates(const struct variant *v, const struct gen_config *config,
                          const struct target *target, struct plan *plans, const char **lacks,
                          struct arena *a) {
  int n = 0;
  for (int i = 0; schedules[i]; i++) {
    lacks[i] = NULL;
    if (schedules[i]->pass != config->pass) continue;
    lacks[i] = schedules[i]->lacks(v, config, a);
    if (!lacks[i]) n += schedules[i]->candidates(v, config, target, plans + n, a);
  }
  for (int i = 0; i < n; i++)
    if (!plans[i].reason) predict(&plans[i]);
  return n;
}

/* The chunks that would fit where the one that was asked for doesn't. */
static void append_chunks_that_fit(const struct variant *v, struct gen_config config,
                                   const struct target *target, struct plan *plans, struct arena *a,
                                   struct error *err) {
  const char *lacks[NSCHEDULES], *join = "\n  note: what fits is chunk=";
  config.chunk = 0;
  const int n = all_candidates(v, &config, target, plans, lacks, a);
  for (int i = 0; i < n; i++) {
    bool seen = plans[i].reason != NULL;
    for (int j = 0; j < i && !seen; j++)
      seen = !plans[j].reason && plans[j].config.chunk == plans[i].config.chunk;
    if (seen) continue;
    error_append(err, "%s%d", join, plans[i].config.chunk);
    join = ", ";
  }
}

static mkc_status nothing_fits(const struct variant *v, struct plan *plans, int n, struct arena *a,
                               struct error *err) {
  const struct gen_config config = plans[0].config;
  const struct target *target = plans[0].target;
  error_set(err, MKC_E_NO_SCHEDULE, "no plan for %s at dk=%d, dv=%d fits %s:", v->name, config.dk,
            config.dv, target->arch);
  for (int i = 0; i < n; i++) {
    struct buf b = {0};
    plan_print(&b, &plans[i]);
    error_append(err, "\n  %s: %s", buf_text(&b), plans[i].reason);
    buf_finish(&b);
  }
  append_chunks_that_fit(v, config, target, plans, a, err);
  return err->status;
}

mkc_status plan_op(const struct variant *v, const struct gen_config *config, struct arena *a,
                   const struct plan **ret, int *ret_n, struct error *err) {
  const struct target *target = target_find(config->arch);
  if (!target) return unknown_arch(config->arch, err);
  struct plan *plans = arena_array(a, struct plan, NSCHEDULES * PLAN_MAX_CANDIDATES);
  const char *lacks[NSCHEDULES] = {0};
  const int n = all_candidates(v, config, target, plans, lacks, a);
  if (n == 0) return no_schedule(v, lacks, err);
  sort(plans, n);
  if (plans[0].reason) return nothing_fits(v, plans, n, a, err);
  *ret = plans;
  *ret_n = n;
  return MKC_OK;
}
