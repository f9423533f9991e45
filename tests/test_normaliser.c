/* SPDX-License-Identifier: MIT
 * test_normaliser.c - row sums in the kernel: features of both signs, whose sum is small beside its
 * terms, so that rounding them would be seen; gates, weights and scales in what rows are divided
 * by; a row that sees nothing. On the CPU device, or the GPU that MASKC_TEST_DEVICE names, against
 * the float64 reference.
 */
#include "support.h"

#include "op_case.h"

#include <string.h>

static struct op_device device;

static void run(const char *text, mkc_dtype dtype, int chunk, int dk, uint64_t seed,
                void (*set)(const struct op_case *c, const char *name, double *x, size_t n)) {
  const struct op_case c = {.path = "t.lua",
                            .text = text,
                            .dtype = dtype,
                            .chunk = chunk,
                            .dk = dk,
                            .dv = 48,
                            .B = 1,
                            .T = 300,
                            .H = 3,
                            .state = true,
                            .set = set,
                            .seed = seed};
  struct op_outcome r;
  struct error err = {0};
  struct buf line = {0};
  op_case_run(&device, &c, &r, &err);
  assert_string_equal(error_text(&err), "");
  op_outcome_print(&line, &r);
  if (!op_outcome_ok(&c, &r)) fail_msg("%s chunk %d: %s", text, chunk, buf_text(&line));
  buf_finish(&line);
}

static void test_features_of_both_signs(void **state) {
  (void)state;
  static const int chunks[] = {16, 32, 64, 128};
  for (int i = 0; i < 4; i++)
    run("return variant { name = \"x\", normaliser = max(abs(rowsum), 1) }",
        i % 2 ? MKC_F16 : MKC_BF16, chunks[i], i == 2 ? 128 : 36, 3u + (uint64_t)i, NULL);
}

/* The decay and the weight of a key are in z as well; the scale and that of a query are in rowsum.
 */
static void test_weights(void **state) {
  (void)state;
  static const char text[] =
      "return variant { name = \"x\", scale = 3 * dk^-0.5,\n"
      "  q = input \"c\" * input { \"q\", dk }, k = sigmoid(input \"i\") * input { \"k\", dk },\n"
      "  v = tanh(input \"w\") * input { \"v\", dv },\n"
      "  transition = { decay(sigmoid(input \"f\" + 3)) },\n"
      "  normaliser = max(abs(rowsum), exp(-input { \"m\", min = 0 })) }";
  run(text, MKC_BF16, 64, 64, 5, NULL);
  run(text, MKC_F16, 32, 100, 6, NULL);
}

/* The first tokens of a sequence have keys of zeros: 0, not 0/0. */
static void nothing_at_first(const struct op_case *c, const char *name, double *x, size_t n) {
  const bool zero = !strcmp(name, "k") || !strcmp(name, "h0") || !strcmp(name, "n0");
  const size_t rows = name[0] == 'k' ? (size_t)(70 * c->H * c->dk) : n;
  if (zero) memset(x, 0, rows * sizeof *x);
}

static void test_rows_that_see_nothing(void **state) {
  (void)state;
  run("return variant { name = \"x\", q = relu(input { \"q\", dk }), k = relu(input { \"k\", dk "
      "}),\n"
      "  normaliser = rowsum }",
      MKC_BF16, 64, 64, 7, nothing_at_first);
}

static int open_device(void **state) {
  (void)state;
  return op_device_setup(&device);
}

static int close_device(void **state) {
  (void)state;
  op_device_close(&device);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_features_of_both_signs),
      cmocka_unit_test(test_weights),
      cmocka_unit_test(test_rows_that_see_nothing),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
