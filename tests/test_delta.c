/* SPDX-License-Identifier: MIT
 * test_delta.c - what the delta rule's kernel must keep: nothing written leaves the state alone, a
 * gate of 0 changes no bit, keys that repeat with beta = 2 do not blow up, and each form of the
 * transition is what the recurrence says. On the CPU device, or the GPU that MASKC_TEST_DEVICE
 * names, against the float64 reference.
 */
#include "support.h"

#include "op_case.h"

#include <math.h>
#include <string.h>

static struct op_device device;

#define BETA "input { \"beta\", min = 0, max = 2 }"
#define G "input { \"g\", max = 0 }"
#define DELTA "return variant { name = \"x\", transition = { delta(" BETA ") } }"
#define GATED "return variant { name = \"x\", transition = { decay(exp(" G ")), delta(" BETA ") } }"
#define CHANNEL                                                                              \
  "return variant { name = \"x\", transition = { decay(exp(input { \"g\", dk, max = 0 })), " \
  "delta(" BETA ") } }"

static struct op_case case_of(const char *text, mkc_dtype dtype, int chunk) {
  return (struct op_case){.path = "t.lua",
                          .text = text,
                          .dtype = dtype,
                          .chunk = chunk,
                          .dk = 64,
                          .dv = 48,
                          .B = 1,
                          .T = 200,
                          .H = 2,
                          .state = true,
                          .seed = 7};
}

static struct op_outcome run(const struct op_case *c) {
  struct op_outcome r;
  struct error err = {0};
  struct buf text = {0};
  op_case_run(&device, c, &r, &err);
  assert_string_equal(error_text(&err), "");
  op_outcome_print(&text, &r);
  if (!op_outcome_ok(c, &r)) fail_msg("%s: %s", c->text, buf_text(&text));
  buf_finish(&text);
  return r;
}

/* ---- the arrays of a test ---- */

static void fill(double *x, size_t n, double value) {
  for (size_t i = 0; i < n; i++) x[i] = value;
}

static void no_write(const struct op_case *c, const char *name, double *x, size_t n) {
  (void)c;
  if (!strcmp(name, "beta")) fill(x, n, 0);
}

/* A key of norm 1 for a head, from its first token on. */
static void same_key(double *x, size_t n, size_t a_token, size_t dk) {
  for (size_t head = 0; head < a_token; head += dk) {
    double sum = 0;
    for (size_t i = head; i < head + dk; i++) sum += x[i] * x[i];
    for (size_t i = head; i < head + dk; i++) x[i] /= sqrt(sum);
  }
  for (size_t i = a_token; i < n; i++) x[i] = x[i - a_token];
}

/* One key and beta = 2: the state is turned over and over and never forgets. */
static void repeated(const struct op_case *c, const char *name, double *x, size_t n) {
  if (!strcmp(name, "beta")) fill(x, n, 2);
  if (!strcmp(name, "g")) fill(x, n, 0);
  if (!strcmp(name, "k")) same_key(x, n, (size_t)(c->H * c->dk), (size_t)c->dk);
}

/* Keys that are nearly one, of a norm near 1, and beta = 1: powers of L grow by orders of
 * magnitude, its inverse does not. */
static void correlated(const struct op_case *c, const char *name, double *x, size_t n) {
  const size_t dk = (size_t)c->dk;
  if (!strcmp(name, "beta")) fill(x, n, 1);
  if (!strcmp(name, "k"))
    for (size_t i = 0; i < n; i++) x[i] = 0.3 * x[i] + (i % dk == 5 ? 0.95 : 0);
}

/* Keys of norm 1 that are one vector and a little noise, beta near 2, and next to no decay: what
 * the state holds along that vector changes its sign with each token, and so does its error. */
static void alternating(const struct op_case *c, const char *name, double *x, size_t n) {
  const size_t dk = (size_t)c->dk;
  if (!strcmp(name, "beta")) fill(x, n, 1.98);
  if (!strcmp(name, "g")) fill(x, n, -1e-3);
  for (size_t at = 0; at < n && !strcmp(name, "k"); at += dk) {
    double sum = 0;
    for (size_t i = 0; i < dk; i++) {
      x[at + i] = 0.01 * x[at + i] + cos((double)i) * sqrt(2 / (double)dk);
      sum += x[at + i] * x[at + i];
    }
    for (size_t i = 0; i < dk; i++) x[at + i] /= sqrt(sum);
  }
}

/* What is drawn depends on the array's place, which g moves: so the two after it are made here. */
static void open_gate(const struct op_case *c, const char *name, double *x, size_t n) {
  (void)c;
  if (!strcmp(name, "g")) fill(x, n, 0);
  for (size_t i = 0; i < n && !strcmp(name, "beta"); i++) x[i] = 1 + sin((double)i);
  for (size_t i = 0; i < n && !strcmp(name, "h0"); i++) x[i] = cos((double)i);
}

/* ---- tests ---- */

static void test_no_write_leaves_the_state_alone(void **state) {
  (void)state;
  struct op_case c = case_of(DELTA, MKC_BF16, 0);
  c.set = no_write;
  assert_true(run(&c).ht == 0);
}

/* The same bits have the same error, to the last one. */
static void test_an_open_gate_changes_no_bit(void **state) {
  (void)state;
  struct op_case plain = case_of(DELTA, MKC_BF16, 32), gated = case_of(GATED, MKC_BF16, 32);
  plain.set = gated.set = open_gate;
  const struct op_outcome x = run(&plain), y = run(&gated);
  assert_memory_equal(&x.o, &y.o, sizeof x.o);
  assert_memory_equal(&x.ht, &y.ht, sizeof x.ht);
}

static void test_keys_that_repeat(void **state) {
  (void)state;
  static const int chunks[] = {64, 16};
  for (int i = 0; i < 2; i++) {
    struct op_case bf16 = case_of(GATED, MKC_BF16, chunks[i]);
    struct op_case fp16 = case_of(DELTA, MKC_F16, chunks[i]);
    bf16.T = fp16.T = 300;
    bf16.set = fp16.set = repeated;
    run(&bf16);
    run(&fp16);
    bf16.set = fp16.set = correlated;
    run(&bf16);
    run(&fp16);
  }
}

/* In fp32, where nothing forgets a rounding of 16 bits. */
static void test_keys_that_repeat_in_fp32(void **state) {
  (void)state;
  static const char *const specs[] = {DELTA, GATED, CHANNEL};
  for (int i = 0; i < 3; i++) {
    struct op_case c = case_of(specs[i], MKC_F32, i == 1 ? 16 : 32);
    c.T = 300;
    c.set = repeated;
    run(&c);
    c.set = correlated;
    run(&c);
    c.set = alternating;
    run(&c);
  }
}

static void test_keys_that_are_near_each_other(void **state) {
  (void)state;
  static const char *const specs[] = {GATED, CHANNEL};
  static const int chunks[] = {64, 16};
  for (int i = 0; i < 4; i++) {
    struct op_case bf16 = case_of(specs[i % 2], MKC_BF16, chunks[i / 2]);
    struct op_case fp16 = case_of(specs[i % 2], MKC_F16, chunks[i / 2]);
    bf16.T = fp16.T = 500;
    bf16.set = fp16.set = alternating;
    run(&bf16);
    run(&fp16);
  }
}

static void test_resets(void **state) {
  (void)state;
  struct op_case c = case_of(GATED, MKC_BF16, 64);
  c.gates = 1;
  run(&c);
}

/* Every way to say erase: where the decay stands, whose tile the vector has, which tile it reads.
 */
static void test_forms(void **state) {
  (void)state;
  static const char *const specs[] = {
      /* a vector of its own, and scalars on every role */
      "local k = input { \"k\", dk }\n"
      "return variant { name = \"x\", q = input \"c\" * input { \"q\", dk }, k = 0.5 * k,\n"
      "  v = -input \"w\" * input { \"v\", dv }, transition = { decay(sigmoid(input \"f\" + 3)),\n"
      "  identity - outer(sigmoid(input \"b\") * k, input { \"p\", dk }) } }",
      /* a vector made of k and an input of its own: Gated DeltaNet-2 with a scalar decay */
      "local k = l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", q = l2norm(input { \"q\", dk }), k = k,\n"
      "  transition = { identity - outer(k, sigmoid(input { \"b\", dk }) * k),\n"
      "  decay(sigmoid(input \"f\" + 3)) } }",
      /* the vector is q, and reads the state before it decays */
      "local q, k = input { \"q\", dk }, input { \"k\", dk }\n"
      "return variant { name = \"x\", q = q, k = k,\n"
      "  transition = { decay(sigmoid(input \"f\")) - outer(0.7 * k, q) } }",
      /* so does this one, but after other decays */
      "local k = l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", k = k, mask = decay(exp(-0.5)),\n"
      "  transition = { decay(sigmoid(input \"f\")) - outer(k, k), decay(1 - 2^(-1 - head)) } }",
      /* no scalar anywhere, so no table */
      "local k = l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", k = k, transition = { identity - outer(k, k) } }",
      /* a decay in the mask is one of the transition; an output */
      "return variant { name = \"x\", k = l2norm(input { \"k\", dk }), scale = dk^-0.5,\n"
      "  mask = decay(sigmoid(input \"f\" + 3)), transition = { delta(sigmoid(input \"b\")) },\n"
      "  output = o * silu(input { \"z\", dv }) }",
  };
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    struct op_case c = case_of(specs[i], MKC_F16, 64);
    c.T = 150;
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
      cmocka_unit_test(test_no_write_leaves_the_state_alone),
      cmocka_unit_test(test_an_open_gate_changes_no_bit),
      cmocka_unit_test(test_keys_that_repeat),
      cmocka_unit_test(test_keys_that_repeat_in_fp32),
      cmocka_unit_test(test_keys_that_are_near_each_other),
      cmocka_unit_test(test_resets),
      cmocka_unit_test(test_forms),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
