/* SPDX-License-Identifier: MIT
 * test_step.c - the decode step on the CPU device against the float64 recurrence: every kind of
 * transition, runs of draft tokens, states of every token, accepted tokens, pools of states.
 */
#include "step_call.h"

#include "cli/number.h"

#include <math.h>
#include <stdlib.h>

static mkc_context *ctx;

#define SPEC(text) \
  "local k = dk^-0.5 * input { \"k\", dk }\nreturn variant { name = \"t\", k = k, " text " }"
#define DELTA "delta(sigmoid(input \"b\"))"
#define FORM "identity - outer(k, sigmoid(input { \"e\", dk }) * k)"
#define CONSTANT "decay(1 - 2^(-5 - head))"
#define SCALAR "decay(exp(input { \"g\", max = 0 }))"
#define CHANNEL "decay(exp(input { \"g\", dk, max = 0 }))"

static const char gated_delta[] = SPEC("scale = dk^-0.5, transition = { " SCALAR ", " DELTA " }");

static const char divided[] = SPEC("scale = dk^-0.5, transition = { " SCALAR ", " DELTA " }, "
                                   "normaliser = max(abs(rowsum), exp(-input { \"m\", min = 0 }))");

/* The flat lattice, and what lies beside it. */
static const char *const specs[] = {
    SPEC("scale = dk^-0.5"),
    SPEC("transition = { " CONSTANT " }"),
    SPEC("scale = dk^-0.5, transition = { " SCALAR " }"),
    SPEC("transition = { " CHANNEL " }"),
    SPEC("transition = { " DELTA " }"),
    SPEC("transition = { " CONSTANT ", " DELTA " }"),
    gated_delta,
    SPEC("transition = { " CHANNEL ", " DELTA " }"),
    SPEC("scale = dk^-0.5, transition = { " FORM " }"),
    SPEC("transition = { " CONSTANT ", " FORM " }"),
    SPEC("transition = { " SCALAR ", " FORM " }"),
    SPEC("scale = dk^-0.5, transition = { " CHANNEL ", " FORM " }"),
    /* the erase reads the state before the decay, along a vector of its own */
    SPEC("transition = { decay(sigmoid(input { \"w\", dk } + param { \"w0\", dk })) - "
         "outer(0.5 * dk^-0.5 * input { \"a\", dk }, k) }"),
    /* the decay turns the erase vector before the write */
    SPEC("transition = { " DELTA ", " CHANNEL " }"),
    /* several terms of a factor, decays on both sides, all that an output can read */
    SPEC("v = input \"c\" * input { \"v\", dv }, read = \"before\", mask = " SCALAR
         ", transition = { "
         "identity - outer(dk^-0.5 * input { \"x\", dk }, k) - outer(input \"d\" * k, dk^-0.5 * "
         "input { \"y\", dk }), "
         "decay(sigmoid(input { \"f\", dv })), " DELTA " }, "
         "output = silu(input { \"z\", dv }) * o + param { \"D\", dv } * input \"c\""),
};
enum { NSPECS = sizeof specs / sizeof *specs };

/* Sums over the channels of q, k, v and o; those over dv want all of it in one block, or twice. */
static const char rows[] = SPEC(
    "q = softmax(input { \"q\", dk }), v = rmsnorm(input { \"v\", dv } * input \"c\"), "
    "transition = { decay(sigmoid(input { \"w\", dk })) - outer(l2norm(input { \"b\", dk }), k) }");
static const char rows_of_output[] =
    SPEC("v = softmax(input { \"v\", dv } + param { \"d\", dv }), "
         "output = rmsnorm(o) * silu(input { \"z\", dv }) * sum(o * o)");

static double tolerance_o(mkc_dtype t) {
  return t == MKC_BF16 ? 4e-3 : t == MKC_F16 ? 5e-4 : 1e-5; /* what rounding o can do */
}

static void assert_side(struct side *s, const double *expected, size_t n, double tolerance) {
  double *actual = side_read(s);
  assert_arrays_close(actual, expected, n, tolerance);
  free(actual);
}

/* o and the state in place, for sequences in slots of their own. */
static void assert_reference(struct step_call *c) {
  double *o, *states;
  step_reference(c, c->n.T, NULL, &o, &states);
  assert_side(step_side(c, "o"), o, step_side(c, "o")->count, tolerance_o(c->n.dtype));
  assert_side(step_side(c, "state"), states, step_side(c, "state")->count, 1e-5);
  assert_true(step_gaps_intact(c));
  free(o);
  free(states);
}

static void test_lattice(void **state) {
  (void)state;
  static const struct step_sizes sizes[] = {
      {2, 1, 4, 2, 2, 64, 64, MKC_BF16, 0, 0},  {1, 3, 2, 1, 1, 20, 36, MKC_F32, 0, 0},
      {1, 9, 1, 1, 1, 128, 16, MKC_F16, 0, 0},  {3, 2, 2, 2, 3, 36, 132, MKC_F32, 0, 0},
      {1, 1, 2, 2, 1, 256, 192, MKC_F32, 0, 0}, {2, 2, 3, 1, 2, 24, 20, MKC_BF16, 4, 0},
      {1, 2, 2, 1, 1, 64, 48, MKC_F16, 8, 0},
  };
  for (int i = 0; i < NSPECS; i++)
    for (int j = 0; j < 2; j++) {
      struct step_call c;
      step_open(&c, ctx, specs[i], &sizes[(2 * i + j) % 7]);
      step_launch(&c, 0, c.n.T);
      assert_reference(&c);
      step_close(&c);
    }
}

static void test_sums_over_channels(void **state) {
  (void)state;
  static const struct step_sizes sizes[] = {{1, 3, 2, 1, 1, 64, 128, MKC_F32, 0, 0},
                                            {2, 9, 1, 1, 2, 36, 100, MKC_F32, 0, 0},
                                            {1, 1, 2, 2, 1, 20, 16, MKC_F32, 0, 0}};
  for (int i = 0; i < 6; i++) {
    struct step_call c;
    step_open(&c, ctx, i % 2 ? rows : rows_of_output, &sizes[i / 2]);
    step_launch(&c, 0, c.n.T);
    assert_reference(&c);
    step_close(&c);
  }
}

static const struct step_sizes draft_run = {2, 5, 2, 1, 2, 20, 36, MKC_BF16, 0, 0};

static void assert_same_bits(const struct side *x, const struct side *y) {
  assert_int_equal(x->bytes, y->bytes);
  assert_memory_equal(x->buffer, y->buffer, x->bytes);
}

/* A run of draft tokens leaves what the tokens one by one leave, to the bit. */
static void test_run_is_tokens_one_by_one(void **state) {
  (void)state;
  struct step_call run, single;
  step_open(&run, ctx, gated_delta, &draft_run);
  step_open(&single, ctx, gated_delta, &draft_run);
  step_launch(&run, 0, 5);
  for (int64_t t = 0; t < 5; t++) step_launch(&single, t, 1);
  assert_reference(&run);
  assert_same_bits(step_side(&run, "o"), step_side(&single, "o"));
  assert_same_bits(step_side(&run, "state"), step_side(&single, "state"));
  step_close(&run);
  step_close(&single);
}

/* states[:, t] is the state after t + 1 tokens. */
static void test_states_of_every_token(void **state) {
  (void)state;
  struct step_sizes n = draft_run;
  struct step_call c;
  n.T = 11; /* more than the kernel computes the values of at once */
  step_open(&c, ctx, gated_delta, &n);
  step_poison_output(&c, "states");
  step_launch(&c, 0, n.T);
  double *all = side_read(step_side(&c, "states"));
  const size_t one = (size_t)(c.n.H * c.n.dk * c.n.dv);
  for (int64_t t = 0; t < n.T; t++) {
    double *o, *states;
    step_reference(&c, t + 1, NULL, &o, &states);
    for (int64_t b = 0; b < c.n.B; b++)
      assert_arrays_close(all + (size_t)(b * n.T + t) * one, states + (size_t)b * one, one, 1e-5);
    free(o);
    free(states);
  }
  free(all);
  assert_reference(&c);
  step_close(&c);
}

/* What rows are divided by, at sizes where a head is one block. */
static void test_normalisers(void **state) {
  (void)state;
  static const struct step_sizes sizes[] = {{2, 1, 4, 2, 2, 64, 64, MKC_BF16, 0, 0},
                                            {1, 3, 2, 1, 1, 20, 36, MKC_F32, 0, 0},
                                            {1, 9, 1, 1, 1, 128, 128, MKC_F16, 0, 0}};
  static const char plain[] = SPEC("q = relu(input { \"q\", dk }), k = relu(input { \"k\", dk }), "
                                   "transition = { " CHANNEL " }, normaliser = rowsum + 1e-6");
  for (int i = 0; i < 6; i++) {
    struct step_call c;
    step_open(&c, ctx, i % 2 ? plain : divided, &sizes[i / 2]);
    step_launch(&c, 0, c.n.T);
    assert_reference(&c);
    step_close(&c);
  }
}

/* The column of a normaliser is moved on with the state: after every token, in the slots of a pool,
 * and no further than what was accepted. */
static void test_column(void **state) {
  (void)state;
  static const int32_t slots[] = {2, 0}, accepted[] = {1, 3};
  const struct step_sizes n = {.B = 2, .T = 3, .H = 2, .qk_heads = 1, .N = 3, .dk = 36, .dv = 48};
  const size_t one = (size_t)(n.H * n.dk);
  struct step_call all, some;
  step_open(&all, ctx, divided, &n);
  step_open(&some, ctx, divided, &n);
  step_set_ints(&all, "state_index", slots);
  step_set_ints(&some, "state_index", slots);
  step_set_ints(&some, "accepted", accepted);
  step_poison_output(&all, "states_n");
  step_launch(&all, 0, n.T);
  step_launch(&some, 0, n.T);
  double *each = side_read(step_side(&all, "states_n"));
  double *last = side_read(step_side(&all, "state_n"));
  double *kept = side_read(step_side(&some, "state_n"));
  for (int64_t b = 0; b < n.B; b++) {
    const double *of_b = each + (size_t)(b * n.T) * one;
    assert_memory_equal(last + (size_t)slots[b] * one, of_b + (size_t)(n.T - 1) * one,
                        one * sizeof *last);
    assert_memory_equal(kept + (size_t)slots[b] * one, of_b + (size_t)(accepted[b] - 1) * one,
                        one * sizeof *kept);
  }
  /* nobody's slot */
  assert_memory_equal(last + one, step_side(&all, "state_n")->values + one, one * sizeof *last);
  assert_true(step_gaps_intact(&all) && step_gaps_intact(&some));
  free(each);
  free(last);
  free(kept);
  step_close(&all);
  step_close(&some);
}

/* The state is left as after the accepted tokens, and o is that of all. */
static void test_accepted(void **state) {
  (void)state;
  static const int32_t accepted[] = {3, 0, -7, 1000, 5};
  static const int64_t means[] = {3, 0, 0, 5, 5};
  struct step_sizes n = draft_run;
  struct step_call c;
  n.B = n.N = 5;
  step_open(&c, ctx, gated_delta, &n);
  step_set_ints(&c, "accepted", accepted);
  step_launch(&c, 0, 5);
  struct side *pool = step_side(&c, "state");
  double *after = side_read(pool), *o, *states;
  const size_t one = pool->count / 5;
  for (size_t b = 0; b < 5; b++) {
    const double *expected = pool->values + b * one;
    step_reference(&c, means[b] ? means[b] : 1, NULL, &o, &states);
    if (means[b]) expected = states + b * one;
    assert_arrays_close(after + b * one, expected, one, means[b] ? 1e-5 : 0);
    free(o);
    free(states);
  }
  free(after);
  step_reference(&c, 5, NULL, &o, &states);
  assert_side(step_side(&c, "o"), o, step_side(&c, "o")->count, tolerance_o(n.dtype));
  assert_true(step_gaps_intact(&c));
  free(o);
  free(states);
  step_close(&c);
}

/* Speculative decoding by replay: look at all, keep nothing; then keep what was accepted. */
static void test_replay(void **state) {
  (void)state;
  static const int32_t none[] = {0, 0}, some[] = {2, 4};
  struct step_call c, kept;
  step_open(&c, ctx, gated_delta, &draft_run);
  step_open(&kept, ctx, gated_delta, &draft_run);
  step_set_ints(&c, "accepted", none);
  step_launch(&c, 0, 5);
  step_set_ints(&c, "accepted", some);
  step_launch(&c, 0, 5);
  step_set_ints(&kept, "accepted", some);
  step_launch(&kept, 0, 5);
  assert_same_bits(step_side(&c, "o"), step_side(&kept, "o"));
  assert_same_bits(step_side(&c, "state"), step_side(&kept, "state"));
  step_close(&c);
  step_close(&kept);
}

/* Sequences in any slots of a pool; -1 and what lies outside of it are skipped. */
static void test_state_index(void **state) {
  (void)state;
  static const int32_t slots[] = {4, -1, 0, 6, 2, INT32_MIN, INT32_MAX};
  struct step_sizes n = {7, 2, 2, 2, 6, 20, 36, MKC_BF16, 0, 0};
  struct step_call c;
  step_open(&c, ctx, gated_delta, &n);
  step_set_ints(&c, "state_index", slots);
  step_launch(&c, 0, 2);
  struct side *pool = step_side(&c, "state");
  double *after = side_read(pool), *o_after = side_read(step_side(&c, "o")), *o, *states;
  step_reference(&c, 2, slots, &o, &states);
  const size_t one = pool->count / 6, row = step_side(&c, "o")->count / 7;
  bool used[6] = {false};
  for (size_t b = 0; b < 7; b++) {
    const bool skipped = slots[b] < 0 || slots[b] >= 6;
    for (size_t i = 0; i < row && skipped; i++) assert_true(o_after[b * row + i] == 0);
    if (skipped) continue;
    used[slots[b]] = true;
    assert_arrays_close(o_after + b * row, o + b * row, row, tolerance_o(n.dtype));
    assert_arrays_close(after + (size_t)slots[b] * one, states + b * one, one, 1e-5);
  }
  for (size_t slot = 0; slot < 6; slot++)
    if (!used[slot]) assert_memory_equal(after + slot * one, pool->values + slot * one, one * 8);
  assert_true(step_gaps_intact(&c));
  free(after);
  free(o_after);
  free(o);
  free(states);
  step_close(&c);
}

/* A decay of 0 forgets whatever the slot held: a sequence may begin in one that was never written.
 */
static void test_reset_forgets_nan(void **state) {
  (void)state;
  struct step_sizes n = draft_run;
  struct step_call c;
  n.T = 1;
  step_open(&c, ctx, gated_delta, &n);
  struct side *g = step_side(&c, "g"), *pool = step_side(&c, "state");
  for (size_t i = 0; i < g->count; i++) g->values[i] = -INFINITY;
  side_write(g, g->values);
  for (size_t i = 0; i < pool->count; i++) pool->values[i] = i % 2 ? NAN : INFINITY;
  side_write(pool, pool->values);
  for (size_t i = 0; i < pool->count; i++) pool->values[i] = 0; /* for the reference */
  step_launch(&c, 0, 1);
  assert_reference(&c);
  step_close(&c);
}

/* ---- after a prefill ---- */

static mkc_op *open_op(mkc_pass pass, int dk, int dv) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  mkc_op *op;
  o.spec_path = "simple_gla";
  o.device = "cpu";
  o.pass = pass;
  o.dk = dk;
  o.dv = dv;
  if (mkc_op_create(ctx, &o, &op) || mkc_op_prepare(op)) fail_msg("%s", mkc_last_error());
  return op;
}

enum { PB = 1, PT = 70, PH = 2, PD = 32, PREFILL = 64 };

struct sequence { /* arrays begin at multiples of 16 bytes, as ops want them */
  _Alignas(16) uint16_t q[PT * PH * PD], k[PT * PH * PD], v[PT * PH * PD], o[PT * PH * PD];
  _Alignas(16) float g[PT * PH], state[PH * PD * PD];
};

static mkc_tensor tokens(void *base, mkc_dtype t, int64_t first, int64_t n, int64_t width) {
  const size_t size = t == MKC_F32 ? 4 : 2;
  return (mkc_tensor){(char *)base + (size_t)(first * PH * width) * size,
                      t,
                      width > 1 ? 4 : 3,
                      {PB, n, PH, width},
                      {PT * PH * width, PH * width, width, 1}};
}

static void launch(mkc_op *op, struct sequence *s, int64_t first, int64_t n, const char *state) {
  mkc_tensor args[24] = {{0}};
  args[mkc_op_arg_index(op, "q")] = tokens(s->q, MKC_BF16, first, n, PD);
  args[mkc_op_arg_index(op, "k")] = tokens(s->k, MKC_BF16, first, n, PD);
  args[mkc_op_arg_index(op, "v")] = tokens(s->v, MKC_BF16, first, n, PD);
  args[mkc_op_arg_index(op, "o")] = tokens(s->o, MKC_BF16, first, n, PD);
  args[mkc_op_arg_index(op, "g")] = tokens(s->g, MKC_F32, first, n, 1);
  args[mkc_op_arg_index(op, state)] =
      (mkc_tensor){s->state, MKC_F32, 4, {PB, PH, PD, PD}, {PH * PD * PD, PD * PD, PD, 1}};
  if (mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL))
    fail_msg("%s", mkc_last_error());
}

/* 64 tokens by the forward op, then 6 by the step, against 70 tokens by the forward op. */
static void test_after_prefill(void **state) {
  (void)state;
  static struct sequence whole, parts;
  mkc_op *forward = open_op(MKC_FORWARD, PD, PD), *step = open_op(MKC_STEP, PD, PD);
  for (int i = 0; i < PT * PH * PD; i++) {
    whole.q[i] = bf16_from_float(sinf((float)(i * i % 1001)));
    whole.k[i] = bf16_from_float(cosf((float)(i * 7 % 1013)));
    whole.v[i] = bf16_from_float(sinf((float)(i * 3 % 997)));
  }
  for (int i = 0; i < PT * PH; i++) whole.g[i] = -0.05f * (float)(i % 5);
  parts = whole;
  launch(forward, &whole, 0, PT, "ht");
  launch(forward, &parts, 0, PREFILL, "ht");
  launch(step, &parts, PREFILL, 1, "state");
  launch(step, &parts, PREFILL + 1, PT - PREFILL - 1, "state");
  double o[2][PT * PH * PD], states[2][PH * PD * PD];
  for (int i = 0; i < PT * PH * PD; i++) {
    o[0][i] = bf16_to_float(parts.o[i]);
    o[1][i] = bf16_to_float(whole.o[i]);
  }
  for (int i = 0; i < PH * PD * PD; i++) {
    states[0][i] = parts.state[i];
    states[1][i] = whole.state[i];
  }
  assert_arrays_close(o[0], o[1], PT * PH * PD, 5e-3); /* what a forward op may differ by */
  assert_arrays_close(states[0], states[1], PH * PD * PD, 3e-3);
  mkc_op_destroy(forward);
  mkc_op_destroy(step);
}

static int setup(void **state) {
  (void)state;
  return mkc_context_create(NULL, &ctx);
}

static int teardown(void **state) {
  (void)state;
  mkc_context_destroy(ctx);
  return 0;
}

int main(void) {
  const struct CMUnitTest all[] = {
      cmocka_unit_test(test_lattice),
      cmocka_unit_test(test_sums_over_channels),
      cmocka_unit_test(test_run_is_tokens_one_by_one),
      cmocka_unit_test(test_states_of_every_token),
      cmocka_unit_test(test_normalisers),
      cmocka_unit_test(test_column),
      cmocka_unit_test(test_accepted),
      cmocka_unit_test(test_replay),
      cmocka_unit_test(test_state_index),
      cmocka_unit_test(test_reset_forgets_nan),
      cmocka_unit_test(test_after_prefill),
  };
  return cmocka_run_group_tests(all, setup, teardown);
}
