/* SPDX-License-Identifier: MIT
 * test_expr_code.c - expressions of a spec as C text: folding, parentheses, shared nodes.
 */
#include "gen_support.h"

#include "emit.h"

#include <locale.h>

static const struct gen_config config = {.arch = "sm_90a", .dtype = MKC_BF16, .dk = 64, .dv = 128};

/* The text of a spec's scale, whose expression may be anything that is one number a head. */
static void assert_scale(const char *expression, const char *expected) {
  char text[512];
  struct loaded_spec s;
  struct expr_code code;
  snprintf(text, sizeof text, "return variant { name = \"x\", scale = %s }", expression);
  load_spec(&s, text);
  const struct expr_term term = {s.variant->branches[0].scale, false};
  expr_code(&term, 1, JOIN_SUM, &config, &s.arena, &code);
  assert_string_equal(buf_text(&code.value), expected);
  expr_code_finish(&code);
  unload_spec(&s);
}

static void test_numbers_fold(void **state) {
  (void)state;
  assert_scale("dk^-0.5", "0.125f");
  assert_scale("dv / dk", "2.0f");
  assert_scale("-exp(0)", "-1.0f");
  assert_scale("1e30 * 2", "2.00000003e+30f");
  assert_scale("1 / 3", "0.333333343f");
}

static void test_parentheses_are_those_needed(void **state) {
  (void)state;
  assert_scale("param \"a\" - (param \"b\" - param \"c\")",
               "per_head.param_a - (per_head.param_b - per_head.param_c)");
  assert_scale("(param \"a\" + param \"b\") * param \"c\"",
               "(per_head.param_a + per_head.param_b) * per_head.param_c");
  assert_scale("-(param \"a\" * param \"b\")", "-(per_head.param_a * per_head.param_b)");
  assert_scale("exp(param \"a\" + 1)", "tile_exp(per_head.param_a + 1.0f)");
  assert_scale("param \"a\" * -2", "per_head.param_a * -2.0f");
}

static void test_elu_plus_one_is_one_function(void **state) {
  (void)state;
  assert_scale("elu(param \"a\") + 1", "tile_elu1(per_head.param_a)");
  assert_scale("-(1 + elu(param \"a\" * 2))", "-tile_elu1(per_head.param_a * 2.0f)");
  assert_scale("elu(param \"a\") + 2", "tile_elu(per_head.param_a) + 2.0f");
}

static void test_head_is_a_number_a_head(void **state) {
  (void)state;
  assert_scale("head / heads", "per_head.head / per_head.heads");
}

static void test_numbers_ignore_the_locale(void **state) {
  (void)state;
  if (!setlocale(LC_NUMERIC, "de_DE.UTF-8")) skip();
  assert_scale("dk^-0.5", "0.125f");
  setlocale(LC_NUMERIC, "C");
}

/* Sixteen doublings are 2^16 terms as a tree and sixteen steps as a DAG. */
static void test_shared_nodes_are_steps(void **state) {
  (void)state;
  struct loaded_spec s;
  struct expr_code code;
  load_spec(&s, "local dt = softplus(input \"dt\" + param \"bias\")\n"
                "return variant { name = \"x\", transition = { decay(exp(-dt * dt)) } }");
  const struct expr_term log = {s.variant->branches[0].factors[0].log, false};
  expr_code(&log, 1, JOIN_SUM, &config, &s.arena, &code);
  assert_contains(buf_text(&code.steps), "tile_softplus(gate.in_dt + per_head.param_bias)");
  assert_contains(buf_text(&code.steps), "line = 1");
  assert_null(strstr(buf_text(&code.value), "softplus"));
  assert_int_equal(code.leaves.n, 2);
  expr_code_finish(&code);
  unload_spec(&s);
}

/* dt * x / n as the terms of a product */
static void test_products(void **state) {
  (void)state;
  struct loaded_spec s;
  struct expr_code code;
  load_spec(&s, "return variant { name = \"x\", scale = param \"a\" + 1,\n"
                "  transition = { decay(sigmoid(input \"f\")) } }");
  const struct branch *b = &s.variant->branches[0];
  const struct expr_term terms[] = {{b->scale, false}, {b->factors[0].log, true}, {b->scale, true}};
  expr_code(terms, 3, JOIN_PRODUCT, &config, &s.arena, &code);
  assert_contains(buf_text(&code.steps), "per_head.param_a + 1.0f");
  assert_contains(buf_text(&code.value), " / -tile_softplus(-gate.in_f) / e");
  expr_code_finish(&code);
  expr_code(terms + 1, 1, JOIN_PRODUCT, &config, &s.arena, &code);
  assert_string_equal(buf_text(&code.value), "1.0f / -tile_softplus(-gate.in_f)");
  expr_code_finish(&code);
  unload_spec(&s);
}

/* A normaliser is given rowsum. */
static void test_rowsum(void **state) {
  (void)state;
  struct loaded_spec s;
  struct expr_code code;
  struct buf slot = {0};
  load_spec(&s, "return variant { name = \"x\", normaliser = max(abs(rowsum), param \"a\") }");
  const struct expr_term normaliser = {s.variant->normaliser, false};
  assert_null(expr_not_emitted(normaliser.e, AXIS_NONE));
  expr_code(&normaliser, 1, JOIN_SUM, &config, &s.arena, &code);
  emit_code(&slot, "normaliser", &code, "");
  assert_contains(buf_text(&slot), "channels = { { field = \"rowsum\" }, }");
  assert_contains(buf_text(&slot), "per_head = true");
  assert_contains(buf_text(&code.value), "(rowsum), per_head.param_a)");
  expr_code_finish(&code);
  buf_finish(&slot);
  unload_spec(&s);
}

static void test_what_cannot_be_emitted_is_named(void **state) {
  (void)state;
  struct loaded_spec s;
  load_spec(&s, "return variant { name = \"x\", transition = {\n"
                "  decay(sigmoid(sum(input { \"f\", dk }))) } }");
  assert_string_equal(expr_not_emitted(s.variant->branches[0].factors[0].log, AXIS_NONE), "sum");
  assert_null(expr_not_emitted(s.variant->branches[0].scale, AXIS_NONE));
  unload_spec(&s);
}

static void test_lua_quote(void **state) {
  (void)state;
  struct buf b = {0};
  lua_quote(&b, "a\"b\\c\nd");
  assert_string_equal(buf_text(&b), "\"a\\034b\\092c\\010d\"");
  buf_finish(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_numbers_fold),
      cmocka_unit_test(test_parentheses_are_those_needed),
      cmocka_unit_test(test_elu_plus_one_is_one_function),
      cmocka_unit_test(test_head_is_a_number_a_head),
      cmocka_unit_test(test_numbers_ignore_the_locale),
      cmocka_unit_test(test_shared_nodes_are_steps),
      cmocka_unit_test(test_products),
      cmocka_unit_test(test_rowsum),
      cmocka_unit_test(test_what_cannot_be_emitted_is_named),
      cmocka_unit_test(test_lua_quote),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
