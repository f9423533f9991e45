/* SPDX-License-Identifier: MIT
 * test_setting.c - values for a spec's options: what sees them, and what is refused.
 */
#include "gen_support.h"

#include "ref.h"

#include <stdlib.h>

static const char spec[] = "local n = option { \"depth\", 3 }\n"
                           "return variant {\n"
                           "  name = \"deep\",\n"
                           "  scale = n / 8,\n"
                           "  transition = { decay(n / 4) },\n"
                           "  mask = window(option { \"window\", 512 }),\n"
                           "}\n";

static mkc_status load(struct loaded_spec *s, const char *text, const mkc_setting *settings, int n,
                       struct error *err) {
  arena_init(&s->arena, &s->out_of_memory);
  return spec_load_with("t.lua", text, strlen(text), settings, n, &s->arena, &s->variant, err);
}

static void a_setting_is_the_value(void **state) {
  (void)state;
  const mkc_setting settings[] = {{"window", 7}, {"depth", 2}};
  struct loaded_spec s;
  struct error err = {0};
  struct buf text = {0};
  assert_int_equal(load(&s, spec, settings, 2, &err), MKC_OK);
  const struct branch *b = &s.variant->branches[0];
  assert_close(b->weights[0].expr->value, 7, 0, 0);
  assert_close(b->scale->hi, 0.25, 0, 0);
  assert_close(b->factors[0].diag->lo, 0.5, 0, 0);
  variant_describe(&text, s.variant);
  assert_contains(buf_text(&text), "window(window = 7)");
  assert_contains(buf_text(&text), "option depth = 2, by default 3\n");
  buf_finish(&text);
  unload_spec(&s);
}

static void without_one_it_is_the_default(void **state) {
  (void)state;
  const mkc_setting same = {"depth", 3};
  struct loaded_spec s;
  struct error err = {0};
  struct buf text = {0};
  assert_int_equal(load(&s, spec, &same, 1, &err), MKC_OK);
  assert_int_equal(s.variant->noptions, 2);
  variant_describe(&text, s.variant);
  assert_contains(buf_text(&text), "option depth = 3\n");
  assert_contains(buf_text(&text), "option window = 512\n");
  buf_finish(&text);
  unload_spec(&s);
}

/* The forms agree with the value in place: the reference computes with it. */
static void the_reference_sees_it(void **state) {
  (void)state;
  const mkc_setting settings[] = {{"window", 2}};
  struct loaded_spec s;
  struct error err = {0};
  struct ref_report reports[REF_MAX_REPORTS];
  int n;
  assert_int_equal(load(&s, spec, settings, 1, &err), MKC_OK);
  assert_int_equal(ref_check(s.variant, 1, reports, &n, &err), MKC_OK);
  assert_true(n > 0);
  unload_spec(&s);
}

static void refused(const char *text, const mkc_setting *settings, int n, mkc_status status,
                    const char *message) {
  struct loaded_spec s;
  struct error err = {0};
  assert_int_equal(load(&s, text, settings, n, &err), status);
  assert_contains(error_text(&err), message);
  error_finish(&err);
  unload_spec(&s);
}

static void bounds_see_it(void **state) {
  (void)state;
  const mkc_setting five = {"depth", 5};
  refused(spec, &five, 1, MKC_E_SPEC, "t.lua:5:18: error: decay takes a factor in [0,1]");
  refused(spec, &five, 1, MKC_E_SPEC, "note: option depth is set to 5; its default is 3");
}

static void what_is_no_option_is_refused(void **state) {
  (void)state;
  const mkc_setting typo = {"windwo", 4}, zero = {"window", 0}, large = {"window", 1048577};
  const mkc_setting twice[] = {{"window", 4}, {"window", 4}}, bad = {"a\n", 1}, none = {NULL, 1};
  refused(spec, &typo, 1, MKC_E_ARGUMENT,
          "t.lua has no option \"windwo\"; did you mean \"window\"?\n"
          "  note: its options are depth = 3, window = 512");
  refused("return variant { name = \"x\" }", &typo, 1, MKC_E_ARGUMENT, "note: it has none");
  refused(spec, &zero, 1, MKC_E_ARGUMENT, "option window is set to 0; it takes 1 to 1048576");
  refused(spec, &large, 1, MKC_E_ARGUMENT, "option window is set to 1048577");
  refused(spec, twice, 2, MKC_E_ARGUMENT, "option window is set twice");
  refused(spec, &bad, 1, MKC_E_ARGUMENT, "has no option \"a\\n\"");
  refused(spec, &none, 1, MKC_E_ARGUMENT, "a setting without a name");
}

static void a_kernel_is_emitted_with_it(void **state) {
  (void)state;
  static const char text[] = "return variant { name = \"x\", scale = option { \"n\", 3 } / 7 }";
  const mkc_setting five = {"n", 5};
  const struct gen_config config = {
      .arch = "sm_80", .dtype = MKC_BF16, .dk = 64, .dv = 64, .settings = &five, .nsettings = 1};
  struct op_source source;
  struct error err = {0};
  assert_int_equal(gen_op("t.lua", text, strlen(text), &config, &source, &err), MKC_OK);
  assert_contains(source.text, "option n = 5, by default 3");
  assert_contains(source.text, "0.714285"); /* 5 / 7 */
  op_source_finish(&source);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_setting_is_the_value),
      cmocka_unit_test(without_one_it_is_the_default),
      cmocka_unit_test(the_reference_sees_it),
      cmocka_unit_test(bounds_see_it),
      cmocka_unit_test(what_is_no_option_is_refused),
      cmocka_unit_test(a_kernel_is_emitted_with_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
