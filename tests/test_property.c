/* SPDX-License-Identifier: MIT
 * test_property.c - random specs on random shapes: each is checked in float64, planned, emitted,
 * run on a device and compared with the reference; one that is refused says where or what is
 * lacking.
 *
 *   test_property [--seed N] [--cases N] [--device cpu|cuda:N] [--verbose]
 *
 * Case i is a function of seed + i alone: a failure prints its seed, and `--seed N --cases 1` runs
 * it again.
 */
#include "op_case.h"
#include "random_spec.h"

#include "gen.h"
#include "ref.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CASES = 48, ENOUGH_CASES = 40 };

/* ---- shapes ---- */

struct range {
  int least, most, step;
};
static const struct range dk_range = {16, 256, 4}, dv_range = {16, 256, 4}, t_range = {1, 200, 1};
static const int chunks[] = {0, 0, 0, 16, 32, 64, 128};
static const int edges[] = {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129}; /* of T */
static const struct {
  int qk, v, scalar, H;
} groupings[] = {{1, 1, 1, 1}, {2, 2, 2, 2}, {1, 3, 3, 3}, {2, 4, 4, 4}, {4, 8, 8, 8},
                 {4, 4, 1, 4}, {3, 1, 1, 3}, {4, 2, 4, 4}, {1, 1, 2, 2}, {6, 2, 3, 6}};
static const char *const archs[] = {"sm_80", "sm_86", "sm_90a", "sm_120"};

/* Multiplications of the recurrence: what a case may cost on the CPU device. */
enum { MAX_WORK = 12000000 };

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

static int pick(struct random *r, struct range x) {
  return x.least + x.step * random_below(r, (x.most - x.least) / x.step + 1);
}

/* The alignment that rows of so many channels have, or less. */
static int pick_align(struct random *r, const struct op_case *c) {
  if (random_chance(r, 60)) return 0;
  const bool whole = c->dtype == MKC_F32 || (c->dk % 8 == 0 && c->dv % 8 == 0);
  return (whole ? 16 : 8) >> random_below(r, 3);
}

/* Decode: a few tokens, no chunks. */
static void make_step(struct random *r, struct op_case *c) {
  c->pass = MKC_STEP;
  c->T = 1 + random_below(r, 4) * random_below(r, 3);
  c->chunk = 0;
  if (random_chance(r, 20)) c->dtype = MKC_F32;
}

static void random_shape(struct random *r, bool gpu, struct op_case *c) {
  const int g = random_below(r, LENGTH(groupings));
  c->qk_heads = groupings[g].qk;
  c->v_heads = groupings[g].v;
  c->scalar_heads = groupings[g].scalar;
  c->H = groupings[g].H;
  c->dk = pick(r, dk_range);
  c->dv = pick(r, dv_range);
  c->B = 1 + random_below(r, 3);
  c->T = random_chance(r, 40) ? edges[random_below(r, LENGTH(edges))] : pick(r, t_range);
  c->chunk = chunks[random_below(r, LENGTH(chunks))];
  const int64_t a_token = c->B * c->H * c->dk * c->dv;
  if (c->T * a_token > MAX_WORK) c->T = MAX_WORK / a_token + 1;
  c->layout = (enum layout)random_below(r, NLAYOUTS);
  c->state = random_chance(r, 60);
  c->dtype = random_chance(r, 70) ? MKC_BF16 : random_chance(r, 50) ? MKC_F16 : MKC_F32;
  c->align = pick_align(r, c);
  c->heads = random_chance(r, 30) ? 1 + random_below(r, 64) : 0;
  c->gates = random_chance(r, 30);
  c->seed = random_next(r);
  if (random_chance(r, 35)) make_step(r, c);
  if (!gpu) c->arch = archs[random_below(r, LENGTH(archs))];
}

/* The same spec under a Fenwick mask, which takes the place of decays in the mask. Its weights have
 * any sign, and row sums with them: not for normalisers that are made for features above 0. */
static void put_under_fenwick(struct random *r, struct arena *a, struct op_case *c) {
  const char *end = strrchr(c->text, '}');
  c->text = arena_printf(a, "%.*s  mask = fenwick(input { \"weights\", levels }),\n}\n",
                         (int)(end - c->text), c->text);
  c->position = random_below(r, 200);
}

/* ---- one case ---- */

enum verdict { RAN, REFUSED, FAILED };

struct property {
  struct op_device device;
  bool verbose;
  int count[3]; /* by verdict */
  double worst;
};

/* "t.lua:4:18: error: ..." */
static bool is_located(const char *message) {
  static const char path[] = "t.lua:";
  if (strncmp(message, path, strlen(path)) != 0) return false;
  const char *p = message + strlen(path);
  for (int i = 0; i < 2; i++) {
    if (!isdigit((unsigned char)*p)) return false;
    while (isdigit((unsigned char)*p)) p++;
    if (*p++ != ':') return false;
  }
  return !strncmp(p, " error: ", 8);
}

/* Whether a spec of this kind may be refused so. */
static bool may_be_refused(enum spec_kind kind, mkc_status status, const char *message) {
  switch (status) {
  case MKC_E_SPEC: /* a wild key may be wider than a decay */
    if (kind == SPEC_WILD && strstr(message, "this factor and k have different widths"))
      return is_located(message);
    return kind == SPEC_BROKEN && is_located(message);
  case MKC_E_ARGUMENT: /* the option that is set is lost */
    return kind == SPEC_BROKEN && strstr(message, "t.lua has no option \"");
  case MKC_E_NO_SCHEDULE:
    /* several inputs over dk, in fp32, may be too much; one always fits (test_plan) */
    if (strstr(message, "(channel") && strstr(message, "of shared memory")) return true;
    if (strstr(message, "(fenwick_eager") && strstr(message, "of shared memory")) return true;
    if (strstr(message, "no plan for ")) /* a row of dv in one block */
      return strstr(message, "the spec sums over dv") || strstr(message, "all channels in one") ||
             strstr(message, "the column of rowsum");
    if (strstr(message, "so many sums over channels")) return true;
    /* "scan: slot q: ...", "step: concat in concat(a, b)" */
    return kind != SPEC_PLAIN && (strstr(message, ": slot ") || strstr(message, " in "));
  default: return false;
  }
}

/* The forms of the spec agree in float64; a spec that does not load is judged later. */
static bool forms_agree(const struct op_case *c, struct arena *a, struct error *err) {
  const struct variant *v;
  struct ref_report reports[REF_MAX_REPORTS];
  int n;
  struct error refused = {0};
  const mkc_status loaded =
      spec_load_with(c->path, c->text, strlen(c->text), c->settings, c->nsettings, a, &v, &refused);
  error_finish(&refused);
  return loaded || ref_check(v, c->seed, reports, &n, err) == MKC_OK;
}

/* As op_outcome_ok, but a forward pass that computes q, k and v over channels rounds them once more
 * than one that is given them. That is 3.7e-3 in o for bf16, five roundings of 1.65e-3, in the mean
 * of many rows; of few it scatters. The state is right to what o is. */
static bool is_right(const struct op_case *c, const struct op_outcome *r) {
  const double few = c->B * c->T * c->H < 100 ? 1.5 : 1;
  const double tolerance = few * (c->dtype == MKC_BF16 ? r->fenwick ? 6e-3 : 5e-3 : 1e-3);
  if (c->pass == MKC_STEP || c->dtype == MKC_F32 || r->erases) return op_outcome_ok(c, r);
  return r->o <= tolerance && r->ht <= tolerance && r->same && r->intact;
}

/* A chunk for which nothing fits, or that no schedule has, gives way to the planner's. */
static mkc_status run_op(const struct op_device *d, struct op_case *c, struct op_outcome *r,
                         struct error *err) {
  const mkc_status status = op_case_run(d, c, r, err);
  const char *why = error_text(err);
  if (status != MKC_E_NO_SCHEDULE || !c->chunk) return status;
  if (!strstr(why, "no plan for ") && !strstr(why, ": chunk is ")) return status;
  c->chunk = 0;
  error_finish(err);
  return op_case_run(d, c, r, err);
}

static enum verdict try_case(const struct property *p, const struct random_spec *spec,
                             struct op_case *c, struct arena *a, struct op_outcome *r,
                             struct error *err) {
  if (!forms_agree(c, a, err)) /* k^0.5, say, which is no number */
    return spec->kind == SPEC_BROKEN && strstr(error_text(err), "not finite") ? REFUSED : FAILED;
  const mkc_status status = run_op(&p->device, c, r, err);
  if (!status) return is_right(c, r) ? RAN : FAILED;
  return may_be_refused(spec->kind, status, error_text(err)) ? REFUSED : FAILED;
}

static void print_case(uint64_t seed, enum verdict verdict, const struct op_case *c,
                       const struct op_outcome *r, const struct error *err) {
  static const char *const words[] = {"ok", "refused", "FAIL"};
  struct buf line = {0};
  buf_printf(&line, "%-7s --seed %llu --cases 1: ", words[verdict], (unsigned long long)seed);
  op_case_print(&line, c);
  buf_puts(&line, "  ");
  if (err->status)
    buf_puts(&line, error_text(err));
  else
    op_outcome_print(&line, r);
  printf("%s\n", buf_text(&line));
  if (verdict == FAILED) {
    printf("%s", c->text);
    for (int i = 0; i < c->nsettings; i++)
      printf("--set %s=%d\n", c->settings[i].name, c->settings[i].value);
  }
  fflush(stdout);
  buf_finish(&line);
}

static void run_case(struct property *p, uint64_t seed) {
  struct arena a;
  jmp_buf out_of_memory;
  arena_init(&a, &out_of_memory);
  if (setjmp(out_of_memory)) exit(4);
  struct random r = {seed};
  struct random_spec spec;
  struct op_outcome outcome = {0};
  struct error err = {0};
  random_spec(&r, &a, &spec);
  struct op_case c = {
      .path = "t.lua", .text = spec.text, .settings = spec.settings, .nsettings = spec.nsettings};
  random_shape(&r, p->device.cu != NULL, &c);
  if (spec.kind == SPEC_PLAIN && !strstr(c.text, "normaliser =") && random_chance(&r, 30))
    put_under_fenwick(&r, &a, &c);
  const enum verdict verdict = try_case(p, &spec, &c, &a, &outcome, &err);
  p->count[verdict]++;
  if (verdict == RAN && outcome.o > p->worst) p->worst = outcome.o;
  if (p->verbose || verdict == FAILED) print_case(seed, verdict, &c, &outcome, &err);
  error_finish(&err);
  arena_finish(&a);
}

/* ---- the program ---- */

static uint64_t number_after(int argc, char **argv, const char *name, uint64_t absent) {
  for (int i = 1; i + 1 < argc; i++)
    if (!strcmp(argv[i], name)) return strtoull(argv[i + 1], NULL, 10);
  return absent;
}

int main(int argc, char **argv) {
  struct property p = {0};
  struct error err = {0};
  const uint64_t seed = number_after(argc, argv, "--seed", 1);
  const int cases = (int)number_after(argc, argv, "--cases", DEFAULT_CASES);
  const char *device = "cpu";
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--verbose")) p.verbose = true;
    if (!strcmp(argv[i], "--device") && i + 1 < argc) device = argv[i + 1];
  }
  if (op_device_open(&p.device, device, &err)) {
    fprintf(stderr, "test_property: %s\n", error_text(&err));
    return 4;
  }
  for (int i = 0; i < cases; i++) run_case(&p, seed + (uint64_t)i);
  op_device_close(&p.device);
  printf("%d ran, %d were refused as they should, %d failed; worst o %.2e\n", p.count[RAN],
         p.count[REFUSED], p.count[FAILED], p.worst);
  /* A generator whose specs are mostly refused tests little. */
  const bool enough = cases < ENOUGH_CASES || (p.count[RAN] >= cases / 2 && p.count[REFUSED] > 0);
  if (!enough) printf("too few ran, or none was refused\n");
  return p.count[FAILED] || !enough ? 5 : 0;
}
