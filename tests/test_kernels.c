/* SPDX-License-Identifier: MIT
 * test_kernels.c - every schedule through NVRTC, for every architecture: no spills, no warnings of
 * ptxas, and cold within the time that is promised; and every operation of the tile vocabulary, as
 * tests/conformance has it. Skipped where there is no NVRTC.
 */
#include "gen_support.h"

#include "nvrtc.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct nvrtc *nvrtc;
static double slowest_ms;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

enum { A_FEW = 32 }; /* bytes a thread */

/* ptxas says "0 bytes spill stores, 0 bytes spill loads" for each function. */
static void assert_spills(const char *log, int most) {
  int seen = 0;
  for (const char *at = log; (at = strstr(at, " bytes spill stores")); at++, seen++) {
    const char *number = at;
    while (number > log && number[-1] >= '0' && number[-1] <= '9') number--;
    assert_true(atoi(number) <= most);
  }
  assert_true(seen > 0);
}

static void compile_as(const char *path, const char *text, const struct gen_config *c,
                       int most_spills) {
  struct op_source s;
  struct error err = {0};
  struct nvrtc_result r = {0};
  const double start = now_ms();
  gen_op(path, text, strlen(text), c, &s, &err);
  assert_string_equal(error_text(&err), "");
  const struct nvrtc_job job = {
      .source = s.text, .arch = c->arch, .kind = NVRTC_CUBIN, .verbose = true};
  nvrtc_compile(nvrtc, &job, &r, &err);
  assert_string_equal(error_text(&err), "");
  const double ms = now_ms() - start;
  if (ms > slowest_ms) slowest_ms = ms;
  assert_spills(r.log, most_spills);
  if (strstr(r.log, "warning") || strstr(r.log, "(C7")) fail_msg("%s %s: %s", path, c->arch, r.log);
  nvrtc_result_finish(&r);
  op_source_finish(&s);
}

static void compile_pass(const char *path, const char *text, mkc_pass pass, const char *arch,
                         int dk, int dv) {
  const struct gen_config c = {.arch = arch, .pass = pass, .dtype = MKC_BF16, .dk = dk, .dv = dv};
  compile_as(path, text, &c, 0);
}

static void compile(const char *path, const char *text, const char *arch, int dk, int dv) {
  compile_pass(path, text, MKC_FORWARD, arch, dk, dv);
}

static void compile_shipped(const char *name, const char *arch, int dk, int dv) {
  char path[80];
  snprintf(path, sizeof path, "specs/%s.lua", name);
  const struct embedded_file *f = embedded_find(path);
  assert_non_null(f);
  compile(path, f->data, arch, dk, dv);
}

static const char *const archs[] = {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120"};

static void test_all_architectures(void **state) {
  (void)state;
  static const int sizes[] = {64, 128};
  if (!nvrtc) skip();
  for (size_t a = 0; a < sizeof archs / sizeof *archs; a++) {
    for (int k = 0; k < 2; k++)
      for (int v = 0; v < 2; v++) compile_shipped("simple_gla", archs[a], sizes[k], sizes[v]);
    compile_shipped("retnet", archs[a], 128, 128);
    compile_shipped("linear_attention", archs[a], 128, 128);
    compile_shipped("mamba2", archs[a], 128, 64);
    compile_shipped("mamba2", archs[a], 60, 100);
    compile_shipped("simple_gla", archs[a], 256, 192);
    compile_shipped("gated_deltanet", archs[a], 128, 128);
    compile_shipped("deltanet", archs[a], 128, 64);
    compile_shipped("comba", archs[a], 64, 128);
    compile_shipped("gla", archs[a], 128, 128);
    compile_shipped("gated_rfa", archs[a], 128, 128);
    compile_shipped("kda", archs[a], 128, 128);
    compile_shipped("log_linear_mamba2", archs[a], 128, 64);
    compile_shipped("log_linear_attention", archs[a], 128, 128);
  }
  print_message("slowest: %.0f ms from spec to cubin\n", slowest_ms);
}

/* In fp32 ptxas takes all registers, and may spill a few: more where states are larger. */
static void test_fp32(void **state) {
  (void)state;
  if (!nvrtc) skip();
  static const struct {
    const char *path, *arch;
    int dk, dv, chunk;
  } ops[] = {{"specs/simple_gla.lua", "sm_90a", 128, 128, 0},
             {"specs/gated_rfa.lua", "sm_80", 60, 100, 0},
             {"specs/gated_deltanet.lua", "sm_90a", 64, 64, 0},
             {"specs/gla.lua", "sm_90a", 128, 128, 0},
             {"specs/kda.lua", "sm_90a", 128, 128, 16}};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    const struct gen_config c = {.arch = ops[i].arch,
                                 .dtype = MKC_F32,
                                 .dk = ops[i].dk,
                                 .dv = ops[i].dv,
                                 .chunk = ops[i].chunk};
    compile_as(ops[i].path, embedded_find(ops[i].path)->data, &c, A_FEW);
  }
}

/* A decode step: with a sum over dk before the write, up to the size with the most registers. */
static void test_step(void **state) {
  (void)state;
  if (!nvrtc) skip();
  const char *path = "specs/kda.lua", *text = embedded_find(path)->data;
  for (size_t a = 0; a < sizeof archs / sizeof *archs; a++)
    compile_pass(path, text, MKC_STEP, archs[a], 128, 128);
  compile_pass(path, text, MKC_STEP, "sm_90a", 60, 100);
  compile_pass(path, text, MKC_STEP, "sm_90a", 256, 256);
}

/* The same under a Fenwick mask. */
static void test_step_fenwick(void **state) {
  (void)state;
  if (!nvrtc) skip();
  const char *path = "specs/log_linear_mamba2.lua", *text = embedded_find(path)->data;
  static const char kda[] =
      "local q, k = l2norm(input { \"q\", dk }), l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", q = q, k = k, transition = { decay(exp(input { \"g\", dk, "
      "max = "
      "0 })), delta(sigmoid(input \"b\")) }, mask = fenwick(input { \"lambda\", levels }) }";
  for (size_t a = 0; a < sizeof archs / sizeof *archs; a++) {
    compile_pass(path, text, MKC_STEP, archs[a], 128, 128);
    compile_pass("kda.lua", kda, MKC_STEP, archs[a], 128, 128);
  }
  compile_pass(path, text, MKC_STEP, "sm_90a", 64, 64);
  compile_pass("kda.lua", kda, MKC_STEP, "sm_90a", 60, 100);
  compile_pass("kda.lua", kda, MKC_STEP, "sm_90a", 256, 256);
}

/* Long expressions in the kernel: every function that a spec may use there. */
static void test_expressions(void **state) {
  (void)state;
  if (!nvrtc) skip();
  compile("t.lua",
          "local g, a = input \"g\", param \"a\"\n"
          "local x = sin(g) * cos(a) + tanh(g) - abs(a) / (1 + sqrt(abs(g))) + relu(g) + elu(a)\n"
          "local y = silu(x) + log(1 + abs(x)) + min(x, a) * max(g, 0.5) + abs(x)^1.5 + 2^-head\n"
          "return variant { name = \"x\", scale = dk^-0.5 * exp(param \"s\"),\n"
          "  transition = { decay(sigmoid(y + x)), decay(exp(-softplus(g + heads))) } }",
          "sm_90a", 128, 128);
}

/* Programs over the channels of a token, in place. */
static void test_row_programs(void **state) {
  (void)state;
  if (!nvrtc) skip();
  char *path = source_path("tests/specs/row_program.lua"), *text = read_file(path, NULL);
  assert_non_null(text);
  compile("row_program.lua", text, "sm_80", 128, 128);
  compile("row_program.lua", text, "sm_90a", 100, 60);
  compile("row_program.lua", text, "sm_120", 256, 64);
  free(text);
  free(path);
}

/* Decays over dk of all that they may be made of. */
static void test_channel_decays(void **state) {
  (void)state;
  if (!nvrtc) skip();
  static const char *const names[] = {"channel_decays", "channel_params", "rodimus"};
  static const char *const on[] = {"sm_90a", "sm_80", "sm_120"};
  compile_shipped("gla", "sm_86", 256, 192);
  compile_shipped("hgrn2", "sm_80", 64, 100);
  compile_shipped("kda", "sm_80", 256, 256);
  compile_shipped("gdn2", "sm_86", 100, 60);
  for (int i = 0; i < 3; i++) {
    char file[80];
    snprintf(file, sizeof file, "tests/specs/%s.lua", names[i]);
    char *path = source_path(file), *text = read_file(path, NULL);
    assert_non_null(text);
    compile(file, text, on[i], 100, 60);
    free(text);
    free(path);
  }
}

/* States through each chunk under a fenwick mask, the largest kernels there are. At 128/128 ptxas
 * plans for the last register, and lets go of three numbers that are read once a chunk. */
static void test_fenwick_eager(void **state) {
  (void)state;
  static const struct {
    const char *name, *arch;
    int dk, dv, most_spills;
  } jobs[] = {
      {"gated_deltanet", "sm_80", 128, 128, 0},
      {"gated_deltanet", "sm_86", 128, 64, 0},
      {"gated_deltanet", "sm_90a", 128, 128, 12},
      {"gated_deltanet", "sm_100a", 64, 128, 0},
      {"deltanet", "sm_90a", 64, 64, 0},
      {"decayed_deltanet", "sm_120", 60, 100, 0},
      {"gla", "sm_80", 128, 128, 0},
      {"gla", "sm_120", 256, 64, 0},
      {"kda", "sm_90a", 128, 128, 0},
      {"kda", "sm_89", 100, 60, 0},
  };
  if (!nvrtc) skip();
  for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
    char path[80];
    snprintf(path, sizeof path, "specs/log_linear_%s.lua", jobs[i].name);
    const struct gen_config c = {
        .arch = jobs[i].arch, .dtype = MKC_BF16, .dk = jobs[i].dk, .dv = jobs[i].dv};
    compile_as(path, embedded_find(path)->data, &c, jobs[i].most_spills);
  }
}

/* The operations themselves, used by a schedule or not. */
static void compile_conformance(const char *name, const char *arch) {
  char file[80];
  snprintf(file, sizeof file, "tests/conformance/%s.k.c", name);
  char *path = source_path(file), *text = read_file(path, NULL);
  assert_non_null(text);
  struct buf source = {0};
  struct error err = {0};
  struct nvrtc_result r = {0};
  buf_printf(&source, "%s#line 1 \"%s\"\n%s", embedded_find("templates/tile_cuda.h")->data, file,
             text);
  const struct nvrtc_job job = {
      .source = buf_text(&source), .arch = arch, .kind = NVRTC_CUBIN, .verbose = true};
  nvrtc_compile(nvrtc, &job, &r, &err);
  if (err.status) fail_msg("%s %s: %s", file, arch, error_text(&err));
  assert_spills(r.log, 0);
  nvrtc_result_finish(&r);
  buf_finish(&source);
  free(text);
  free(path);
}

static void test_vocabulary(void **state) {
  (void)state;
  static const char *const names[] = {"pointwise", "threads", "memory", "matrix"};
  if (!nvrtc) skip();
  for (size_t a = 0; a < sizeof archs / sizeof *archs; a++)
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
      compile_conformance(names[i], archs[a]);
}

/* Names of a spec that end like names of ours, and begin like each other. */
static void test_names(void **state) {
  (void)state;
  if (!nvrtc) skip();
  compile(
      "t.lua",
      "local z = input { \"z\", dv }\n"
      "return variant { name = \"x\", q = input { \"q_at\", dk }, k = input { \"k_token\", dk },\n"
      "  v = input \"z_at\" * input \"x0\" * silu(input { \"x\", dv } * input { \"x_word\", dv "
      "}),\n"
      "  transition = { decay(sigmoid(input \"g\" + input \"g_token\" + input \"g_heads\")) },\n"
      "  output = o * z + input { \"z0\", dv } * param \"z_batch\" + input { \"x1\", dv } }",
      "sm_80", 64, 64);
  compile("t.lua",
          "local g = input { \"g\", dk } + input { \"pair_g\", dk } + input { \"x\", dk }\n"
          "return variant { name = \"x\", q = input { \"q_word\", dk } * g,\n"
          "  k = input { \"factors\", dk } * sigmoid(g) * input \"k_at\",\n"
          "  transition = { decay(sigmoid(g * input \"row\" + param { \"c\", dk })) } }",
          "sm_80", 64, 64);
}

static int open_nvrtc(void **state) {
  (void)state;
  struct nvrtc_location where;
  struct error err = {0};
  if (nvrtc_locate(&where, &err) || nvrtc_open(&where, &nvrtc, &err)) {
    print_message("skipped: %s\n", error_text(&err));
    error_finish(&err);
  }
  return 0;
}

static int close_nvrtc(void **state) {
  (void)state;
  nvrtc_close(nvrtc);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_architectures), cmocka_unit_test(test_step),
      cmocka_unit_test(test_step_fenwick),      cmocka_unit_test(test_fp32),
      cmocka_unit_test(test_expressions),       cmocka_unit_test(test_names),
      cmocka_unit_test(test_row_programs),      cmocka_unit_test(test_channel_decays),
      cmocka_unit_test(test_fenwick_eager),     cmocka_unit_test(test_vocabulary),
  };
  return cmocka_run_group_tests(tests, open_nvrtc, close_nvrtc);
}
