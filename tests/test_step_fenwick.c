/* SPDX-License-Identifier: MIT
 * test_step_fenwick.c - the decode step under a Fenwick mask against the float64 recurrence: every
 * transition, every kind of position, draft runs across carries, accepted tokens, pools, sequences
 * that have outgrown their levels.
 *
 * Slots that hold nothing are poisoned with NaN before each launch: the kernel must not read them.
 */
#include "step_call.h"

#include "cli/number.h"

#include <math.h>
#include <stdlib.h>

static mkc_context *ctx;

#define SPEC(text) \
  "local k = dk^-0.5 * input { \"k\", dk }\nreturn variant { name = \"t\", k = k, " text " }"
#define FENWICK "mask = fenwick(input { \"lambda\", levels })"
#define DELTA "delta(sigmoid(input \"b\"))"
#define FORM "identity - outer(k, sigmoid(input { \"e\", dk }) * k)"
#define CONSTANT "decay(1 - 2^(-5 - head))"
#define SCALAR "decay(exp(input { \"g\", max = 0 }))"
#define CHANNEL "decay(exp(input { \"g\", dk, max = 0 }))"

static const char plain[] = SPEC(FENWICK);
static const char gated_delta[] =
    SPEC("scale = dk^-0.5, transition = { " SCALAR ", " DELTA " }, " FENWICK);

/* Decays and erasures, two by two, and what lies beside them. */
static const char *const specs[] = {
    plain,
    SPEC("transition = { " CONSTANT " }, " FENWICK),
    SPEC("scale = dk^-0.5, transition = { " SCALAR " }, " FENWICK),
    SPEC("transition = { " CHANNEL " }, " FENWICK),
    SPEC("transition = { " DELTA " }, " FENWICK),
    SPEC("transition = { " CONSTANT ", " DELTA " }, " FENWICK),
    gated_delta,
    SPEC("transition = { " CHANNEL ", " DELTA " }, " FENWICK),
    SPEC("scale = 1 / (2 + head), transition = { " SCALAR ", " FORM " }, " FENWICK),
    /* a weight that is an expression, and a decay of the mask */
    SPEC("mask = " SCALAR
         " * fenwick(softplus(param { \"L\", levels } * input { \"dl\", levels } + "
         "input \"c\"))"),
    /* q is k */
    SPEC("q = k, transition = { " DELTA " }, " FENWICK),
    /* the erase reads the state before the decay, along a vector of its own */
    SPEC("transition = { decay(sigmoid(input { \"w\", dk } + param { \"w0\", dk })) - "
         "outer(0.5 * dk^-0.5 * input { \"a\", dk }, k) }, " FENWICK),
    /* several terms of a factor, decays on both sides, all that an output can read */
    SPEC("v = input \"c\" * input { \"v\", dv }, read = \"before\", mask = " SCALAR
         " * fenwick(input { \"lambda\", levels }), transition = { "
         "identity - outer(dk^-0.5 * input { \"x\", dk }, k) - outer(input \"d\" * k, dk^-0.5 * "
         "input { \"y\", dk }), "
         "decay(sigmoid(input { \"f\", dv })), " DELTA " }, "
         "output = silu(input { \"z\", dv }) * o + param { \"D\", dv } * input \"c\""),
    /* a decay over dv that acts twice */
    "local f = sigmoid(input { \"f\", dv })\n" SPEC("transition = { decay(f), " DELTA
                                                    ", decay(f) }, " FENWICK),
};
enum { NSPECS = sizeof specs / sizeof *specs };

static double tolerance_o(mkc_dtype t) {
  return t == MKC_BF16 ? 4e-3 : t == MKC_F16 ? 5e-4 : 1e-5; /* what rounding o can do */
}

/* ---- comparing ---- */

static size_t slot_elements(const struct step_call *c) {
  return (size_t)(c->n.H * c->n.dk * c->n.dv);
}

/* The live slots of an entry `after` the tokens up to a position. */
static void assert_slots(const struct step_call *c, const double *after, const double *expected,
                         int64_t position) {
  const size_t one = slot_elements(c);
  for (int slot = 0; slot < c->n.levels - 1; slot++)
    if (position >> slot & 1)
      assert_arrays_close(after + (size_t)slot * one, expected + (size_t)slot * one, one, 1e-5);
}

/* o of `tokens` tokens, and the states after them of sequences in entries of their own. */
static void assert_reference(struct step_call *c, int64_t tokens) {
  const size_t entry = slot_elements(c) * (size_t)(c->n.levels - 1);
  double *o, *states;
  step_reference(c, tokens, NULL, &o, &states);
  double *actual = side_read(step_side(c, "o")), *after = side_read(step_side(c, "state"));
  assert_arrays_close(actual, o, step_side(c, "o")->count, tolerance_o(c->n.dtype));
  for (int64_t b = 0; b < c->n.B; b++)
    assert_slots(c, after + (size_t)b * entry, states + (size_t)b * entry, c->position[b] + tokens);
  assert_true(step_gaps_intact(c));
  free(actual);
  free(after);
  free(o);
  free(states);
}

/* ---- transitions and sizes ---- */

static void test_transitions(void **state) {
  (void)state;
  static const struct step_sizes sizes[] = {
      {3, 1, 2, 2, 3, 64, 64, MKC_BF16, 0, 6}, {3, 3, 2, 1, 3, 20, 36, MKC_F32, 0, 7},
      {3, 8, 1, 1, 3, 128, 16, MKC_F16, 0, 9}, {3, 2, 1, 1, 3, 36, 132, MKC_F32, 0, 6},
      {3, 1, 1, 1, 3, 256, 64, MKC_F32, 0, 6}, {3, 8, 2, 1, 3, 24, 20, MKC_BF16, 4, 12},
      {3, 5, 2, 1, 3, 64, 48, MKC_F16, 8, 24},
  };
  static const int64_t positions[] = {0, 7, 22};
  for (int i = 0; i < NSPECS; i++) {
    struct step_call c;
    step_open(&c, ctx, specs[i], &sizes[(2 * i + (i >= 7)) % 7]);
    step_set_positions(&c, positions, NULL);
    step_launch(&c, 0, c.n.T);
    assert_reference(&c, c.n.T);
    step_close(&c);
  }
}

/* ---- positions ---- */

static void expect_at(const int64_t *positions, int64_t T, int levels) {
  struct step_sizes n = {8, T, 1, 1, 8, 16, 16, MKC_F32, 0, levels};
  struct step_call c;
  step_open(&c, ctx, gated_delta, &n);
  step_set_positions(&c, positions, NULL);
  step_launch(&c, 0, T);
  assert_reference(&c, T);
  step_close(&c);
}

/* Every position from 0 on, a token and a draft run. */
static void test_small_positions(void **state) {
  (void)state;
  for (int64_t first = 0; first < 72; first += 8) {
    int64_t positions[8];
    for (int i = 0; i < 8; i++) positions[i] = first + i;
    expect_at(positions, 1 + first % 3 * 3, 8);
  }
}

/* About the powers of 2, and with as many slots as there can be. */
static void test_large_positions(void **state) {
  (void)state;
  static const int64_t positions[][8] = {
      {127, 128, 129, 1023, 1024, 1025, 2047, 2048},
      {4095, 4096, 4097, 8191, 8192, 8193, 5461, 2730},
      {(1 << 22) - 1, 1 << 22, (1 << 22) + 1, (1 << 23) - 9, (1 << 22) - 3, 65535, 65536, 65537},
  };
  for (int64_t T = 1; T <= 8; T += 7) {
    expect_at(positions[0], T, 13);
    expect_at(positions[1], T, 15);
    expect_at(positions[2], T, 24);
  }
}

/* From nothing, token by token and in runs: as all tokens at once. */
static void test_from_the_first_token(void **state) {
  (void)state;
  static const int64_t runs[] = {1, 1, 1, 2, 7, 8, 3, 5, 1, 4, 8, 8, 6, 1, 2, 8, 4};
  enum { B = 2, T = 70 };
  struct step_sizes n = {B, T, 2, 1, B, 20, 36, MKC_F32, 0, 8};
  static const int64_t zeros[B] = {0};
  struct step_call c;
  step_open(&c, ctx, gated_delta, &n);
  step_set_positions(&c, zeros, NULL);
  int64_t at = 0;
  for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
    const int64_t positions[B] = {at, at};
    step_put_positions(&c, positions);
    step_launch(&c, at, runs[i]);
    at += runs[i];
  }
  assert_int_equal(at, T);
  memcpy(c.position, zeros, sizeof zeros);
  assert_reference(&c, T);
  step_close(&c);
}

/* ---- draft runs ---- */

static const struct step_sizes draft_run = {5, 7, 2, 1, 5, 20, 36, MKC_BF16, 0, 7};
static const int64_t draft_positions[] = {6, 13, 30, 0, 55};

static void assert_same_bits(const struct side *x, const struct side *y) {
  assert_int_equal(x->bytes, y->bytes);
  assert_memory_equal(x->buffer, y->buffer, x->bytes);
}

/* The states are left as after the accepted tokens, and o is that of all. */
static void test_accepted(void **state) {
  (void)state;
  static const int32_t accepted[][5] = {{3, 0, 2, 1000, 7}, {5, 3, -7, 1, 4}};
  static const int64_t means[][5] = {{3, 0, 2, 7, 7}, {5, 3, 0, 1, 4}};
  for (int i = 0; i < 2; i++) {
    struct step_call c;
    step_open(&c, ctx, i ? specs[NSPECS - 1] : gated_delta, &draft_run);
    step_set_positions(&c, draft_positions, NULL);
    struct side *pool = step_side(&c, "state");
    double *before = side_read(pool), *o, *states;
    step_set_ints(&c, "accepted", accepted[i]);
    step_launch(&c, 0, 7);
    double *after = side_read(pool), *actual = side_read(step_side(&c, "o"));
    const size_t entry = pool->count / 5;
    for (size_t b = 0; b < 5; b++) {
      if (!means[i][b]) assert_memory_equal(after + b * entry, before + b * entry, entry * 8);
      if (!means[i][b]) continue;
      step_reference(&c, means[i][b], NULL, &o, &states);
      assert_slots(&c, after + b * entry, states + b * entry, draft_positions[b] + means[i][b]);
      free(o);
      free(states);
    }
    step_reference(&c, 7, NULL, &o, &states);
    assert_arrays_close(actual, o, step_side(&c, "o")->count, tolerance_o(MKC_BF16));
    assert_true(step_gaps_intact(&c));
    free(before);
    free(after);
    free(actual);
    free(o);
    free(states);
    step_close(&c);
  }
}

/* Speculative decoding by replay: look at all, keep nothing; then keep what was accepted. */
static void test_replay(void **state) {
  (void)state;
  static const int32_t none[5] = {0}, some[] = {2, 4, 3, 7, 1};
  struct step_call c, kept;
  step_open(&c, ctx, gated_delta, &draft_run);
  step_open(&kept, ctx, gated_delta, &draft_run);
  step_set_positions(&c, draft_positions, NULL);
  step_set_positions(&kept, draft_positions, NULL);
  step_set_ints(&c, "accepted", none);
  step_launch(&c, 0, 7);
  step_set_ints(&c, "accepted", some);
  step_launch(&c, 0, 7);
  step_set_ints(&kept, "accepted", some);
  step_launch(&kept, 0, 7);
  assert_same_bits(step_side(&c, "o"), step_side(&kept, "o"));
  assert_same_bits(step_side(&c, "state"), step_side(&kept, "state"));
  step_close(&c);
  step_close(&kept);
}

/* ---- after a prefill ---- */

enum { PT = 70, PH = 2, PD = 32, PL = 8, PREFILL = 45 };

struct sequence { /* arrays begin at multiples of 16 bytes, as ops want them */
  _Alignas(16) uint16_t q[PT * PH * PD], k[PT * PH * PD], v[PT * PH * PD], o[PT * PH * PD];
  _Alignas(16) float lambda[PT * PH * PL], state[(PL - 1) * PH * PD * PD];
  _Alignas(16) int64_t position;
};

static mkc_op *open_op(mkc_pass pass) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  mkc_op *op;
  o.spec_path = "log_linear_retnet";
  o.device = "cpu";
  o.pass = pass;
  o.dk = o.dv = PD;
  if (mkc_op_create(ctx, &o, &op) || mkc_op_prepare(op)) fail_msg("%s", mkc_last_error());
  return op;
}

static mkc_tensor tokens_of(void *base, mkc_dtype t, int64_t n, int64_t width) {
  return (mkc_tensor){
      (char *)base, t, 4, {1, n, PH, width}, {PT * PH * width, PH * width, width, 1}};
}

/* n tokens from the position on, to which they are added. */
static void launch(mkc_op *op, struct sequence *s, int64_t n, const char *state) {
  mkc_tensor args[24] = {{0}};
  const size_t row = (size_t)s->position * PH;
  args[mkc_op_arg_index(op, "q")] = tokens_of(s->q + row * PD, MKC_BF16, n, PD);
  args[mkc_op_arg_index(op, "k")] = tokens_of(s->k + row * PD, MKC_BF16, n, PD);
  args[mkc_op_arg_index(op, "v")] = tokens_of(s->v + row * PD, MKC_BF16, n, PD);
  args[mkc_op_arg_index(op, "o")] = tokens_of(s->o + row * PD, MKC_BF16, n, PD);
  args[mkc_op_arg_index(op, "lambda")] = tokens_of(s->lambda + row * PL, MKC_F32, n, PL);
  args[mkc_op_arg_index(op, "position")] = (mkc_tensor){&s->position, MKC_I64, 1, {1}, {1}};
  args[mkc_op_arg_index(op, state)] = (mkc_tensor){
      s->state, MKC_F32, 5, {1, PL - 1, PH, PD, PD}, {0, PH * PD * PD, PD * PD, PD, 1}};
  size_t bytes;
  const int nargs = mkc_op_arg_count(op);
  if (mkc_op_workspace(op, args, nargs, &bytes)) fail_msg("%s", mkc_last_error());
  void *workspace = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (mkc_op_launch(op, args, nargs, workspace, bytes, NULL)) fail_msg("%s", mkc_last_error());
  free(workspace);
  s->position += n;
}

/* Tokens by the forward op, whose ht is the step's state, then by the step: as all by the forward
 * op.
 */
static void test_after_prefill(void **state) {
  (void)state;
  static struct sequence whole, parts;
  mkc_op *forward = open_op(MKC_FORWARD), *step = open_op(MKC_STEP);
  for (int i = 0; i < PT * PH * PD; i++) {
    whole.q[i] = bf16_from_float(sinf((float)(i * i % 1001)));
    whole.k[i] = bf16_from_float(cosf((float)(i * 7 % 1013)));
    whole.v[i] = bf16_from_float(sinf((float)(i * 3 % 997)));
  }
  for (int i = 0; i < PT * PH * PL; i++) whole.lambda[i] = 0.25f + 0.125f * (float)(i % 7);
  parts = whole;
  launch(forward, &whole, PT, "ht");
  launch(forward, &parts, PREFILL, "ht");
  for (int64_t n = 1; parts.position < PT; n = n < 8 && parts.position + 2 * n < PT ? 2 * n : 1)
    launch(step, &parts, n, "state");
  double o[2][PT * PH * PD], states[2][(PL - 1) * PH * PD * PD] = {{0}};
  for (int i = 0; i < PT * PH * PD; i++) {
    o[0][i] = bf16_to_float(parts.o[i]);
    o[1][i] = bf16_to_float(whole.o[i]);
  }
  for (int i = 0; i < (PL - 1) * PH * PD * PD; i++) {
    if (!(PT >> i / (PH * PD * PD) & 1)) continue; /* not live */
    states[0][i] = parts.state[i];
    states[1][i] = whole.state[i];
  }
  assert_arrays_close(o[0], o[1], PT * PH * PD, 5e-3); /* what a forward op may differ by */
  assert_arrays_close(states[0], states[1], (PL - 1) * PH * PD * PD, 5e-3); /* as of ht */
  mkc_op_destroy(forward);
  mkc_op_destroy(step);
}

/* ---- pools, and what is refused ---- */

/* Sequences in any entries of a pool; -1 and what lies outside of it are skipped. */
static void test_state_index(void **state) {
  (void)state;
  static const int32_t entries[] = {4, -1, 0, 6, 2, INT32_MIN, INT32_MAX};
  static const int64_t positions[] = {5, -1, 15, INT64_MAX, 12, 3, 1};
  struct step_sizes n = {7, 2, 2, 2, 6, 20, 36, MKC_BF16, 0, 6};
  struct step_call c;
  step_open(&c, ctx, gated_delta, &n);
  step_set_ints(&c, "state_index", entries);
  step_set_positions(&c, positions, entries);
  struct side *pool = step_side(&c, "state");
  double *before = side_read(pool), *o, *states;
  step_launch(&c, 0, 2);
  double *after = side_read(pool), *o_after = side_read(step_side(&c, "o"));
  for (int b = 0; b < 7; b++) /* the reference has no skipped sequences */
    if (entries[b] < 0 || entries[b] >= 6) c.position[b] = 0;
  step_reference(&c, 2, entries, &o, &states);
  const size_t entry = pool->count / 6, row = step_side(&c, "o")->count / 7;
  bool used[6] = {false};
  for (size_t b = 0; b < 7; b++) {
    const bool skipped = entries[b] < 0 || entries[b] >= 6;
    for (size_t i = 0; i < row && skipped; i++) assert_true(o_after[b * row + i] == 0);
    if (skipped) continue;
    used[entries[b]] = true;
    assert_arrays_close(o_after + b * row, o + b * row, row, tolerance_o(n.dtype));
    assert_slots(&c, after + (size_t)entries[b] * entry, states + b * entry, positions[b] + 2);
  }
  for (size_t e = 0; e < 6; e++)
    if (!used[e]) assert_memory_equal(after + e * entry, before + e * entry, entry * 8);
  assert_true(step_gaps_intact(&c));
  free(before);
  free(after);
  free(o_after);
  free(o);
  free(states);
  step_close(&c);
}

/* A sequence that would need more slots than there are: o is NaN, and its states are left alone. */
static void test_outgrown(void **state) {
  (void)state;
  static const int64_t positions[] = {29, 30, 31, 32, -1, INT64_MAX, INT64_MIN, 28};
  static const bool fits[] = {true, false, false, false, false, false, false, true};
  struct step_sizes n = {8, 2, 1, 1, 8, 16, 16, MKC_BF16, 0, 6}; /* 5 slots: 31 tokens at most */
  struct step_call c;
  step_open(&c, ctx, gated_delta, &n);
  step_set_positions(&c, positions, NULL);
  struct side *pool = step_side(&c, "state");
  double *before = side_read(pool);
  step_launch(&c, 0, 2);
  double *after = side_read(pool), *o = side_read(step_side(&c, "o"));
  const size_t entry = pool->count / 8, row = step_side(&c, "o")->count / 8;
  for (size_t b = 0; b < 8; b++) {
    for (size_t i = 0; i < row; i++) assert_int_equal(isnan(o[b * row + i]) != 0, !fits[b]);
    if (fits[b]) continue;
    assert_memory_equal(after + b * entry, before + b * entry, entry * 8);
  }
  assert_true(step_gaps_intact(&c));
  free(before);
  free(after);
  free(o);
  step_close(&c);
}

/* Weights of levels that no token reads may be anything. */
static void test_levels_that_are_not_read(void **state) {
  (void)state;
  static const int64_t positions[] = {3, 4};
  struct step_sizes n = {2, 1, 1, 1, 2, 16, 16, MKC_F32, 0, 9};
  struct step_call c;
  step_open(&c, ctx, plain, &n);
  step_set_positions(&c, positions, NULL);
  struct side *lambda = step_side(&c, "lambda");
  for (size_t i = 0; i < lambda->count; i++)
    if (i % 9 > 3 || i == 9 + 1 || i == 9 + 2) lambda->values[i] = NAN;
  side_write(lambda, lambda->values);
  for (size_t i = 0; i < lambda->count; i++)
    if (isnan(lambda->values[i])) lambda->values[i] = 0; /* for the reference */
  step_launch(&c, 0, 1);
  assert_reference(&c, 1);
  step_close(&c);
}

/* A decay of 0 forgets whatever the states held. */
static void test_reset_forgets_nan(void **state) {
  (void)state;
  static const int64_t positions[] = {7, 10};
  struct step_sizes n = {2, 1, 1, 1, 2, 16, 16, MKC_F32, 0, 6};
  struct step_call c;
  step_open(&c, ctx, gated_delta, &n);
  step_set_positions(&c, positions, NULL);
  struct side *g = step_side(&c, "g"), *pool = step_side(&c, "state");
  for (size_t i = 0; i < g->count; i++) g->values[i] = -INFINITY;
  side_write(g, g->values);
  for (size_t i = 0; i < pool->count; i++) pool->values[i] = i % 2 ? NAN : INFINITY;
  side_write(pool, pool->values);
  for (size_t i = 0; i < pool->count; i++) pool->values[i] = 0; /* for the reference */
  step_launch(&c, 0, 1);
  assert_reference(&c, 1);
  step_close(&c);
}

static void expect_refused(struct step_call *c, int64_t tokens, const char *why) {
  assert_int_equal(step_try_launch(c, 0, tokens), MKC_E_ARGUMENT);
  assert_contains(mkc_last_error(), why);
}

static void test_refused(void **state) {
  (void)state;
  static const int64_t positions[] = {0, 0};
  struct step_sizes n = {2, 9, 1, 1, 2, 16, 16, MKC_F32, 0, 6};
  struct step_call c;
  step_open(&c, ctx, plain, &n);
  step_set_positions(&c, positions, NULL);
  expect_refused(&c, 9, "T is 9 in k; the op takes at most 8 tokens a launch");
  assert_int_equal(mkc_op_arg_index(c.op, "states"), -1);
  step_side(&c, "position")->present = false;
  expect_refused(&c, 1, "position is absent");
  step_close(&c);
  n.levels = 25;
  step_open(&c, ctx, plain, &n);
  expect_refused(&c, 1, "levels is 25 in lambda; the op takes at most 24");
  step_close(&c);
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
      cmocka_unit_test(test_transitions),       cmocka_unit_test(test_small_positions),
      cmocka_unit_test(test_large_positions),   cmocka_unit_test(test_from_the_first_token),
      cmocka_unit_test(test_accepted),          cmocka_unit_test(test_replay),
      cmocka_unit_test(test_after_prefill),     cmocka_unit_test(test_state_index),
      cmocka_unit_test(test_outgrown),          cmocka_unit_test(test_levels_that_are_not_read),
      cmocka_unit_test(test_reset_forgets_nan), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(all, setup, teardown);
}
