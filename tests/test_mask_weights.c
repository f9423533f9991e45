/* SPDX-License-Identifier: MIT
 * test_mask_weights.c - tests gen/cli/mask_weights.c, at_head.c and draw.c: the weights that `show`
 * draws, a variant for one head, and the drawing itself.
 */
#include "support.h"

#include "cli/at_head.h"
#include "cli/draw.h"
#include "cli/mask_weights.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static jmp_buf out_of_memory;

static int setup(void **state) {
  (void)state;
  arena_init(&arena, &out_of_memory);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  arena_finish(&arena);
  return 0;
}

static const struct variant *load(const char *text) {
  const struct variant *v;
  struct error err = {0};
  if (spec_load("test.lua", text, strlen(text), &arena, &v, &err)) fail_msg("%s", error_text(&err));
  return v;
}

enum { T = 12 };

static const char *weights_of(const char *text, int head, double *weights) {
  const struct mask_request request = {.tokens = T, .head = head, .heads = 4, .seed = 1};
  const char *note;
  struct error err = {0};
  if (mask_weights(&arena, load(text), &request, weights, &note, &err))
    fail_msg("%s", error_text(&err));
  return note;
}

static void a_constant_decay_is_a_power(void **state) {
  (void)state;
  double w[T * T];
  for (int head = 0; head < 4; head++) {
    assert_null(weights_of("return variant { name = \"x\", scale = 7,\n"
                           "  transition = { decay(1 - 2^(-1 - head)) } }",
                           head, w));
    const double gamma = 1 - pow(2, -1 - head);
    for (int t = 0; t < T; t++)
      for (int s = 0; s < T; s++)
        assert_close(w[t * T + s], s > t ? 0 : pow(gamma, t - s), 1e-12, 1e-300);
  }
}

static void a_window_cuts(void **state) {
  (void)state;
  double w[T * T];
  weights_of("return variant { name = \"x\", mask = window(3) }", 0, w);
  for (int t = 0; t < T; t++)
    for (int s = 0; s < T; s++) assert_close(w[t * T + s], s <= t && t - s < 3 ? 1 : 0, 1e-12, 0);
}

/* One weight a level: pairs of one row and level have the same. */
static void fenwick_weights_follow_levels(void **state) {
  (void)state;
  double w[T * T];
  weights_of("return variant { name = \"x\", mask = fenwick(input { \"l\", levels }) }", 0, w);
  for (int t = 0; t < T; t++)
    for (int s = 1; s <= t; s++) {
      const bool same = fenwick_level(t, s) == fenwick_level(t, s - 1);
      assert_true(same == (fabs(w[t * T + s] - w[t * T + s - 1]) < 1e-9));
    }
}

static void says_what_it_leaves_out(void **state) {
  (void)state;
  double w[T * T];
  const char *note = weights_of("return variant { name = \"x\", k = l2norm(input { \"k\", dk }),\n"
                                "  transition = { delta(sigmoid(input \"b\")) } }",
                                0, w);
  assert_string_equal(note, "low-rank steps are left out");
}

/* The reference on all heads at once, and head by head through variant_at_head, is the same. */
static void one_head_is_that_head(void **state) {
  (void)state;
  enum { H = 3, D = 4 };
  const struct variant *v = load("return variant { name = \"x\", scale = dk^-0.5 + heads,\n"
                                 "  transition = { decay(1 - 2^(-5 - head)) } }");
  static double in[3][T * H * D], all[T * H * D], one[T * D], slice[3][T * D];
  struct ref_array arrays[3], sliced[3];
  struct error err = {0};
  assert_int_equal(v->nleaves, 3);
  for (int i = 0; i < 3; i++) {
    ref_draw(v->leaves[i], 5 + (uint64_t)i, in[i], T * H * D);
    arrays[i] = (struct ref_array){in[i], H};
    sliced[i] = (struct ref_array){slice[i], 1};
  }
  struct ref_call call = {.B = 1,
                          .T = T,
                          .H = H,
                          .dk = D,
                          .dv = D,
                          .levels = 1,
                          .taps = 1,
                          .chunk = 4,
                          .arrays = arrays,
                          .o = all};
  assert_int_equal(ref_run(v, REF_STATE, &call, &err), MKC_OK);
  for (int h = 0; h < H; h++) {
    for (int i = 0; i < 3; i++)
      for (int t = 0; t < T; t++)
        memcpy(&slice[i][t * D], &in[i][(t * H + h) * D], sizeof(double) * D);
    struct ref_call single = call;
    single.H = 1;
    single.arrays = sliced;
    single.o = one;
    const struct variant *x = variant_at_head(&arena, v, h, H);
    assert_int_equal(ref_run(x, REF_STATE, &single, &err), MKC_OK);
    for (int t = 0; t < T; t++)
      assert_memory_equal(&one[t * D], &all[(t * H + h) * D], sizeof(double) * D);
  }
}

static void drawn(const struct drawing *d, bool utf8, const char *expected) {
  struct buf out = {0};
  const struct term term = {.utf8 = utf8, .columns = 80};
  draw_mask(&out, d, &term);
  assert_string_equal(buf_text(&out), expected);
  buf_finish(&out);
}

static void shades_are_relative_to_the_largest(void **state) {
  (void)state;
  const double w[9] = {-2, 0, 0, 1, 2, 0, 1e-9, 0, 0.5};
  const struct drawing d = {3, w, false};
  drawn(&d, false,
        "  t \\ s ->\n    0 @@\n      ++@@\n      ..  ::\n\n      |weight| 0 ..::++##@@ 2\n");
  const struct drawing levels = {3, w, true};
  drawn(&levels, true,
        "  t \\ s →\n    0 0█\n      1▒0█\n      2·  0░\n\n"
        "      |weight| 0 ··░░▒▒▓▓██ 2; the digit is the fenwick level\n");
}

static void levels_are_those_of_the_design(void **state) {
  (void)state;
  assert_int_equal(fenwick_level(5, 5), 0);
  assert_int_equal(fenwick_level(5, 4), 1);
  assert_int_equal(fenwick_level(7, 4), 2);
  assert_int_equal(fenwick_level(8, 7), 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_constant_decay_is_a_power),
      cmocka_unit_test(a_window_cuts),
      cmocka_unit_test(fenwick_weights_follow_levels),
      cmocka_unit_test(says_what_it_leaves_out),
      cmocka_unit_test(one_head_is_that_head),
      cmocka_unit_test(shades_are_relative_to_the_largest),
      cmocka_unit_test(levels_are_those_of_the_design),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
