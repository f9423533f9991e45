/* SPDX-License-Identifier: MIT
 * op_sweep.c - runs the shipped specs over lengths, head sizes, head counts, layouts and states on
 * a device and compares them with the float64 reference (op_case.h).
 *
 *   op_sweep [cpu|cuda:N] [--full] [--race] [--fp32]
 *
 * Prints a line a case and, last, `N passed, N failed`. --race: fewer cases, under the CPU device's
 * race check. --fp32: all of them in fp32, not a fourth, but for those under a
 * fenwick mask, which has no fp32.
 */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "op_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;
static double worst_o, worst_ht;
static bool race, fp32;

static void die(const char *what, const char *why) {
  fprintf(stderr, "op_sweep: %s: %s\n", what, why);
  exit(4);
}

static void print_case(const char *spec, const struct op_case *c, const struct op_outcome *r,
                       bool ok) {
  struct buf line = {0};
  buf_printf(&line, "%-4s %-17s ", ok ? "ok" : "FAIL", spec);
  op_case_print(&line, c);
  buf_puts(&line, "  ");
  op_outcome_print(&line, r);
  puts(buf_text(&line));
  fflush(stdout);
  buf_finish(&line);
}

static void try_case(const struct op_device *device, const char *spec, struct op_case *c) {
  struct op_outcome r;
  struct error err = {0};
  c->seed = 1000u * (uint64_t)c->T;
  c->check = race ? MKC_CHECK_RACE : MKC_CHECK_NONE;
  if (!op_case_shipped(c, spec)) die(spec, "is not shipped");
  mkc_status status = op_case_run(device, c, &r, &err);
  if (status == MKC_E_NO_SCHEDULE && c->chunk) { /* such a chunk does not fit */
    error_finish(&err);
    c->chunk = 0;
    status = op_case_run(device, c, &r, &err);
  }
  if (status) die(spec, error_text(&err));
  const bool ok = op_outcome_ok(c, &r);
  *(ok ? &passed : &failed) += 1;
  if (r.o > worst_o) worst_o = r.o;
  if (r.ht > worst_ht) worst_ht = r.ht;
  print_case(spec, c, &r, ok);
}

static void sweep(const struct op_device *device, bool full) {
  static const char *const specs[] = {"linear_attention",
                                      "retnet",
                                      "lightning2",
                                      "simple_gla",
                                      "mamba2_core",
                                      "mamba2",
                                      "log_linear_attention",
                                      "log_linear_retnet",
                                      "log_linear_mamba2",
                                      "linear_attention_elu",
                                      "gated_rfa",
                                      "deltanet",
                                      "gated_deltanet",
                                      "comba",
                                      "decayed_deltanet",
                                      "gla",
                                      "hgrn2",
                                      "kda",
                                      "log_linear_deltanet",
                                      "log_linear_decayed_deltanet",
                                      "log_linear_gated_deltanet",
                                      "log_linear_gla",
                                      "log_linear_kda"};
  enum { FIRST_TO_64 = 6 }; /* from here on chunks up to 64 */
  static const int sizes[][2] = {{64, 64}, {128, 128}, {60, 100}, {192, 20}, {100, 256}};
  static const int chunks[] = {0, 16, 0, 32, 64, 0, 128}, aligns[] = {0, 0, 4, 0, 2};
  static const int64_t lengths[] = {1, 63, 64, 65, 127, 128, 200, 257, 1024, 4099};
  static const char *const landings[] = {"late", "early", "random:1", "random:2"};
  static const char *const residents[] = {"1", "2", "3"};
  const int nlengths = full ? 10 : 7;
  int k = 0;
  for (int s = 0; s < (int)(sizeof specs / sizeof *specs); s++)
    for (int d = 0; d < 5; d++)
      for (int t = 0; t < nlengths; t++, k++) {
        const bool sampled = s < FIRST_TO_64 ? (k + s) % 7 == 0 : (k + d + s) % 9 == 0;
        if (race ? (k + s) % 31 != 0 : !full && !sampled) continue; /* a covering sample */
        struct op_case c = {
            .dtype = MKC_BF16, .dk = sizes[d][0], .dv = sizes[d][1], .T = lengths[t]};
        c.B = 1 + k % 2;
        /* One token of few heads is few numbers: one head whose terms cancel would be the error. */
        c.H = full ? lengths[t] == 1 ? 16 : 4 : 2;
        c.qk_heads = k % 3 == 1 ? 1 : c.H;
        c.layout = (enum layout)(k % NLAYOUTS);
        c.state = k % 4 != 1;
        if (!strncmp(specs[s], "log_linear", 10) && c.state) c.position = 29 * k % 300;
        c.gates = k % 2;
        c.chunk = d < 3 ? chunks[k % 7] : 0;
        if (s >= FIRST_TO_64 && c.chunk > 64) c.chunk = 0;
        c.align = aligns[k % 5];
        if (k % 5 == 4) c.dtype = MKC_F16;
        if ((fp32 || (k / 2 + s) % 4 == 1) && strncmp(specs[s], "log_linear", 10) != 0)
          c.dtype = MKC_F32;
        if (race) setenv("MASKC_CPU_ASYNC", landings[k / 16 % 4], 1);
        setenv("MASKC_CPU_BLOCKS", residents[k % 3], 1);
        try_case(device, specs[s], &c);
      }
}

/* Plans of other cards, which the CPU device runs as well: split heads, tiles of 32 channels. */
static void sweep_archs(const struct op_device *device) {
  static const struct {
    const char *spec, *arch;
    int dk, dv, gates;
  } cases[] = {
      {"simple_gla", "sm_86", 128, 128, 1},
      {"retnet", "sm_120", 128, 128, 0},
      {"mamba2", "sm_86", 128, 64, 0},
      {"mamba2", "sm_89", 128, 128, 0},
      {"mamba2_core", "sm_90a", 64, 128, 0},
      {"comba", "sm_86", 128, 256, 1},
      {"gla", "sm_86", 128, 256, 1},
      {"hgrn2", "sm_120", 100, 128, 0},
      {"kda", "sm_86", 128, 128, 1},
      {"deltanet", "sm_120", 256, 64, 0},
      {"gated_deltanet", "sm_90a", 128, 128, 0},
      {"gated_rfa", "sm_86", 128, 256, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct op_case c = {.arch = cases[i].arch,
                        .dk = cases[i].dk,
                        .dv = cases[i].dv,
                        .gates = cases[i].gates,
                        .dtype = fp32 || i % 3 == 2 ? MKC_F32
                                 : i % 2            ? MKC_F16
                                                    : MKC_BF16,
                        .B = 1,
                        .T = 150,
                        .H = 2,
                        .qk_heads = 1,
                        .state = true};
    try_case(device, cases[i].spec, &c);
  }
}

int main(int argc, char **argv) {
  const char *name = "cpu";
  bool full = false;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--full"))
      full = true;
    else if (!strcmp(argv[i], "--race"))
      race = true;
    else if (!strcmp(argv[i], "--fp32"))
      fp32 = true;
    else
      name = argv[i];
  }
  struct op_device device;
  struct error err = {0};
  if (op_device_open(&device, name, &err)) die(name, error_text(&err));
  sweep(&device, full);
  if (!device.cu) sweep_archs(&device);
  op_device_close(&device);
  printf("worst o %.2e, worst ht %.2e on %s\n", worst_o, worst_ht, name);
  printf("%d passed, %d failed\n", passed, failed);
  return failed ? 5 : 0;
}
