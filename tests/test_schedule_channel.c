/* SPDX-License-Identifier: MIT
 * test_schedule_channel.c - what decays over dk must do exactly: nothing where they are 1, and
 * forget all where they are 0, on the CPU device. How close they come to the reference is
 * op_sweep's.
 */
#include "gen_support.h"

#include "cli/number.h"
#include "maskc.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>

enum { T = 75, DK = 32, DV = 48, OUTPUTS = T * DV, STATES = DK * DV };

struct arrays {
  float g[T * DK], ht[STATES];
  uint16_t q[T * DK], k[T * DK], v[T * DV], o[OUTPUTS];
};

static void *array_of(struct arrays *a, const char *name) {
  return !strcmp(name, "g")    ? (void *)a->g
         : !strcmp(name, "ht") ? (void *)a->ht
         : !strcmp(name, "q")  ? (void *)a->q
         : !strcmp(name, "k")  ? (void *)a->k
         : !strcmp(name, "v")  ? (void *)a->v
         : !strcmp(name, "o")  ? (void *)a->o
                               : NULL; /* h0 */
}

/* One batch, one head. */
static mkc_tensor tensor(struct arrays *a, const mkc_arg_info *info) {
  const int64_t last = strchr(info->axes, 'v') ? DV : DK;
  mkc_tensor t = {.data = array_of(a, info->name), .dtype = info->dtype, .ndim = 4};
  const int64_t shape[4] = {1, info->axes[1] == 'T' ? T : 1, info->axes[2] == 'k' ? DK : 1, last};
  int64_t step = 1;
  for (int i = 3; i >= 0; i--) {
    t.shape[i] = shape[i];
    t.stride[i] = step;
    step *= shape[i];
  }
  return t;
}

static mkc_context *ctx;

/* spec: the name of a shipped one, or a text. */
static void run(const char *spec, int chunk, struct arrays *a) {
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  mkc_tensor args[8];
  mkc_arg_info info = MKC_ARG_INFO_INIT;
  mkc_op *op;
  options.spec_path = strchr(spec, '{') ? "t.lua" : spec;
  options.spec_text = strchr(spec, '{') ? spec : NULL;
  options.device = "cpu";
  options.dk = DK;
  options.dv = DV;
  options.chunk = chunk;
  assert_int_equal(mkc_op_create(ctx, &options, &op), MKC_OK);
  assert_int_equal(mkc_op_prepare(op), MKC_OK);
  const int n = mkc_op_arg_count(op);
  for (int i = 0; i < n; i++) {
    mkc_op_arg_info(op, i, &info);
    args[i] = tensor(a, &info);
  }
  assert_int_equal(mkc_op_launch(op, args, n, NULL, 0, NULL), MKC_OK);
  mkc_op_destroy(op);
}

static void draw(uint16_t *x, int n, uint64_t seed) {
  static const struct leaf any = {.name = "x", .min = -INFINITY, .max = INFINITY};
  double *values = malloc((size_t)n * sizeof *values);
  assert_non_null(values);
  ref_draw(&any, seed, values, (size_t)n);
  for (int i = 0; i < n; i++) x[i] = bf16_from_float((float)values[i]);
  free(values);
}

/* Gates that forget slowly. */
static struct arrays *create(void) {
  struct arrays *a = calloc(1, sizeof *a);
  assert_non_null(a);
  draw(a->q, T * DK, 1);
  draw(a->k, T * DK, 2);
  draw(a->v, T * DV, 3);
  for (int i = 0; i < T * DK; i++) a->g[i] = -0.01f * (float)(i % 7);
  return a;
}

static void assert_same(const struct arrays *x, const struct arrays *y, double tolerance) {
  double *a = malloc(OUTPUTS * sizeof *a), *b = malloc(OUTPUTS * sizeof *b);
  for (int i = 0; i < OUTPUTS; i++) a[i] = bf16_to_float(x->o[i]), b[i] = bf16_to_float(y->o[i]);
  assert_arrays_close(a, b, OUTPUTS, tolerance);
  for (int i = 0; i < STATES; i++) a[i] = x->ht[i], b[i] = y->ht[i];
  assert_arrays_close(a, b, STATES, tolerance);
  free(a);
  free(b);
}

#define ERASING(transition)                                                                    \
  "return variant { name = \"t\", k = l2norm(input { \"k\", dk }), transition = { " transition \
  " } }"
static const char erasing[] = ERASING("decay(exp(input { \"g\", dk, max = 0 })), delta(0.5)");
static const char erasing_all[] = ERASING("decay(exp(input { \"g\", dk, max = 0 })), delta(1)");

static void check_no_decay(const char *spec, const char *without) {
  struct arrays *gated = create(), *plain = create();
  memset(gated->g, 0, sizeof gated->g);
  run(spec, 64, gated);
  run(without, 64, plain);
  assert_same(gated, plain, 4e-3);
  free(gated);
  free(plain);
}

/* Gates of 0: linear attention, or the delta rule. */
static void test_no_decay(void **state) {
  (void)state;
  check_no_decay("gla", "linear_attention");
  check_no_decay(erasing, ERASING("delta(0.5)"));
}

/* After a token that forgets all, what came before does not change a bit. */
static void check_reset(const char *spec, int at, float gate, int chunk) {
  struct arrays *first = create(), *second = create();
  for (int i = 0; i < DK; i++) first->g[at * DK + i] = second->g[at * DK + i] = gate;
  draw(second->q, at * DK, 4);
  draw(second->k, at * DK, 5);
  draw(second->v, at * DV, 6);
  for (int i = 0; i < at * DV; i++)
    second->v[i] = bf16_from_float(1e4f * bf16_to_float(second->v[i]));
  run(spec, chunk, first);
  run(spec, chunk, second);
  assert_memory_not_equal(first->o, second->o, (size_t)at * DV * sizeof *first->o);
  assert_memory_equal(first->o + at * DV, second->o + at * DV,
                      (size_t)(T - at) * DV * sizeof *first->o);
  assert_memory_equal(first->ht, second->ht, sizeof first->ht);
  free(first);
  free(second);
}

static void test_resets(void **state) {
  (void)state;
  static const float gates[] = {-INFINITY, -1e4f, -200.0f};
  static const int chunks[] = {16, 32, 64};
  static const int at[] = {5, 15, 16, 40, 64}; /* in, at the end and at the start of blocks */
  for (int i = 0; i < 15; i++) {
    check_reset("gla", at[i % 5], gates[i % 3], chunks[i / 5]);
    check_reset(erasing, at[i % 5], gates[i % 3], chunks[i / 5]);
  }
}

/* Many resets: every token starts anew, so that o = scale (q' k) v. */
static void test_resets_everywhere(void **state) {
  (void)state;
  struct arrays *a = create();
  double expected[OUTPUTS], actual[OUTPUTS];
  for (int i = 0; i < T * DK; i++) a->g[i] = i % 2 ? -1e4f : -INFINITY;
  run("gla", 64, a);
  for (int t = 0; t < T; t++) {
    double qk = 0;
    for (int d = 0; d < DK; d++)
      qk += (double)bf16_to_float(a->q[t * DK + d]) * bf16_to_float(a->k[t * DK + d]);
    for (int d = 0; d < DV; d++) {
      expected[t * DV + d] = qk / sqrt(DK) * bf16_to_float(a->v[t * DV + d]);
      actual[t * DV + d] = bf16_to_float(a->o[t * DV + d]);
    }
  }
  assert_arrays_close(actual, expected, OUTPUTS, 4e-3);
  free(a);
}

/* A key that repeats with a rate of 1, and no decay: the state holds the last value written, once.
 */
static void test_repeated_keys(void **state) {
  (void)state;
  struct arrays *a = create();
  double expected[OUTPUTS], actual[OUTPUTS];
  memset(a->g, 0, sizeof a->g);
  for (int t = 0; t < T; t++)
    for (int d = 0; d < DK; d++) a->k[t * DK + d] = a->q[t * DK + d] = bf16_from_float(d == 7);
  run(erasing_all, 32, a);
  for (int i = 0; i < OUTPUTS; i++) {
    expected[i] = bf16_to_float(a->v[i]);
    actual[i] = bf16_to_float(a->o[i]);
  }
  assert_arrays_close(actual, expected, OUTPUTS, 4e-3);
  free(a);
}

/* What decays may be made of, and what may be beside them: against the reference, which `run` does.
 */
static void test_decays(void **state) {
  (void)state;
  static const char *const specs[] = {"tests/specs/channel_decays",  "tests/specs/channel_params",
                                      "tests/specs/rodimus",         "specs/gdn2",
                                      "tests/specs/kda_lower_bound", "tests/specs/channel_erase_q"};
  for (int i = 0; i < 6; i++) {
    char file[80];
    snprintf(file, sizeof file, "%s.lua", specs[i]);
    char *path = source_path(file);
    const char *const argv[] = {getenv("MASKC"),
                                "run",
                                path,
                                "--device",
                                "cpu",
                                "--shape",
                                "B=2,T=71,H=2,dk=60,dv=36",
                                NULL};
    struct command_result r;
    command_run(argv, NULL, &r);
    assert_string_equal(r.err, "");
    assert_contains(r.out, i < 3 ? "(channel chunk=" : "(channel_delta chunk=");
    assert_int_equal(r.status, 0);
    command_result_finish(&r);
    free(path);
  }
}

static int open_context(void **state) {
  (void)state;
  return mkc_context_create(NULL, &ctx);
}

static int close_context(void **state) {
  (void)state;
  mkc_context_destroy(ctx);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_decay),
      cmocka_unit_test(test_resets),
      cmocka_unit_test(test_resets_everywhere),
      cmocka_unit_test(test_repeated_keys),
      cmocka_unit_test(test_decays),
  };
  return cmocka_run_group_tests(tests, open_context, close_context);
}
