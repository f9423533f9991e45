/* SPDX-License-Identifier: MIT
 * test_fenwick_eager.c - what erases and what decays over dk under a fenwick mask, beside what
 * test_fenwick asks of every transition: keys that repeat, resets, each form of the erasure. On the
 * CPU device, or the GPU that MASKC_TEST_DEVICE names, against the float64 reference.
 */
#include "support.h"

#include "op_case.h"

#include <math.h>
#include <string.h>

static struct op_device device;

#define FENWICK "mask = fenwick(input { \"l\", levels }) }"
#define DELTA "delta(input { \"beta\", min = 0, max = 2 }) }, "
#define SCALAR \
  "return variant { name = \"x\", transition = { decay(exp(input { \"g\", max = 0 })), "
#define CHANNEL \
  "return variant { name = \"x\", transition = { decay(exp(input { \"g\", dk, max = 0 })), "

static struct op_case case_of(const char *text, mkc_dtype dtype, int chunk) {
  return (struct op_case){.path = "t.lua",
                          .text = text,
                          .dtype = dtype,
                          .chunk = chunk,
                          .dk = 48,
                          .dv = 32,
                          .B = 1,
                          .T = 200,
                          .H = 1,
                          .state = true,
                          .position = 21,
                          .seed = 7};
}

static void run(const struct op_case *c) {
  struct op_outcome r;
  struct error err = {0};
  struct buf text = {0};
  op_case_run(&device, c, &r, &err);
  assert_string_equal(error_text(&err), "");
  op_outcome_print(&text, &r);
  if (!op_outcome_ok(c, &r)) fail_msg("%s: %s", c->text, buf_text(&text));
  buf_finish(&text);
}

/* ---- the arrays of a test ---- */

static void fill(double *x, size_t n, double value) {
  for (size_t i = 0; i < n; i++) x[i] = value;
}

/* A key of norm 1, from the first token on. */
static void same_key(double *x, size_t n, size_t dk) {
  double sum = 0;
  for (size_t i = 0; i < dk; i++) sum += x[i] * x[i];
  for (size_t i = 0; i < dk; i++) x[i] /= sqrt(sum);
  for (size_t i = dk; i < n; i++) x[i] = x[i - dk];
}

/* One key and beta = 2: every block's state is turned over and over and never forgets. */
static void repeated(const struct op_case *c, const char *name, double *x, size_t n) {
  if (!strcmp(name, "beta")) fill(x, n, 2);
  if (!strcmp(name, "g")) fill(x, n, 0);
  if (!strcmp(name, "k")) same_key(x, n, (size_t)c->dk);
}

/* Keys that are nearly one, of a norm near 1, and beta = 1: powers of L grow by orders of
 * magnitude, its inverse does not. */
static void correlated(const struct op_case *c, const char *name, double *x, size_t n) {
  if (!strcmp(name, "beta")) fill(x, n, 1);
  if (!strcmp(name, "k"))
    for (size_t i = 0; i < n; i++) x[i] = 0.3 * x[i] + (i % (size_t)c->dk == 5 ? 0.95 : 0);
}

/* ---- tests ---- */

static void test_keys_that_repeat(void **state) {
  (void)state;
  static const char *const specs[] = {SCALAR DELTA FENWICK, CHANNEL DELTA FENWICK};
  static const mkc_dtype types[] = {MKC_BF16, MKC_F16, MKC_F32};
  for (int i = 0; i < 6; i++) {
    struct op_case c = case_of(specs[i % 2], types[i / 2], i % 2 == 0 && i < 4 ? 64 : 32);
    c.set = repeated;
    run(&c);
    c.set = correlated;
    run(&c);
  }
}

/* Gates that forget everything, and some that forget nothing. */
static void test_resets(void **state) {
  (void)state;
  static const char *const specs[] = {SCALAR DELTA FENWICK, CHANNEL DELTA FENWICK,
                                      CHANNEL "}, " FENWICK};
  for (int i = 0; i < 6; i++) {
    struct op_case c = case_of(specs[i % 3], i < 3 ? MKC_BF16 : MKC_F32, 32);
    c.gates = 1;
    run(&c);
  }
}

/* Every way to say erase: where the decay stands, whose tile the vector has, which tile it reads;
 * scalars on every role. */
static void test_forms(void **state) {
  (void)state;
  static const char *const specs[] = {
      /* a vector of its own */
      "local k = input { \"k\", dk }\n"
      "return variant { name = \"x\", q = input \"c\" * input { \"q\", dk }, k = 0.5 * k,\n"
      "  v = -input \"w\" * input { \"v\", dv }, transition = { decay(sigmoid(input \"f\" + 3)),\n"
      "  identity - outer(sigmoid(input \"b\") * k, input { \"p\", dk }) }, " FENWICK,
      /* one made of k and an input of its own, after a decay over dk: Gated DeltaNet-2 */
      "local k = l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", q = l2norm(input { \"q\", dk }), k = k, transition = {\n"
      "  decay(sigmoid(input { \"f\", dk } + 3)),\n"
      "  identity - outer(k, sigmoid(input { \"b\", dk }) * k) }, " FENWICK,
      /* the vector is q, and reads the state before it decays */
      "local q, k = input { \"q\", dk }, input { \"k\", dk }\n"
      "return variant { name = \"x\", q = q, k = k,\n"
      "  transition = { decay(sigmoid(input \"f\")) - outer(0.7 * k, q) }, " FENWICK,
      /* the vector is q, after a decay over dk */
      "local q, k = input { \"q\", dk }, input { \"k\", dk }\n"
      "return variant { name = \"x\", q = q, k = k, transition = {\n"
      "  decay(sigmoid(input { \"f\", dk } + 2)), identity - outer(0.7 * k, q) }, " FENWICK,
      /* no scalar anywhere, so no table; weights of levels that are computed; an output */
      "local k = l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", k = k, scale = dk^-0.5,\n"
      "  transition = { identity - outer(k, k) }, output = o * silu(input { \"z\", dv }),\n"
      "  mask = fenwick(softplus(param { \"L\", levels } * input { \"l\", levels })) }",
      /* write and read weights without an erasure, a decay in the mask */
      "return variant { name = \"x\", q = input \"c\" * input { \"q\", dk },\n"
      "  v = input \"w\" * input { \"v\", dv },\n"
      "  transition = { decay(sigmoid(input { \"f\", dk } + 3)) },\n"
      "  mask = decay(sigmoid(input \"h\" + 3)) * fenwick(input { \"l\", levels }) }",
  };
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    struct op_case c = case_of(specs[i], MKC_F16, i % 2 ? 32 : 64);
    c.T = 100;
    run(&c);
    c.dtype = MKC_F32;
    c.chunk = i % 2 ? 32 : 16;
    run(&c);
  }
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
      cmocka_unit_test(test_keys_that_repeat),
      cmocka_unit_test(test_resets),
      cmocka_unit_test(test_forms),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
