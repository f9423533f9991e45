/* SPDX-License-Identifier: MIT
 * test_template.c - the template engine: structure lines, splices, #line, the vocabulary.
 */
#include "support.h"

#include "template.h"

#include <stdlib.h>
#include <string.h>

static const char vocabulary[] = "/* head */\n#define TILE_FN static\n\n"
                                 "TILE_FN int one(void) { return 1; }\n\n"
                                 "TILE_FN int two(void) { return one() + one(); }\n\n"
                                 "TILE_FN int three(void) { return 3; }\n";

static char *render(const char *text, const char *slots, struct error *err) {
  char *out = NULL;
  return template_render_text("t.c", text, vocabulary, slots, NULL, &out, err) ? NULL : out;
}

static void assert_renders(const char *text, const char *slots, const char *expected) {
  struct error err = {0};
  char *out = render(text, slots, &err);
  assert_string_equal(error_text(&err), "");
  assert_non_null(out);
  assert_string_equal(out, expected);
  free(out);
}

static void assert_refused(const char *text, const char *slots, const char *message) {
  struct error err = {0};
  assert_null(render(text, slots, &err));
  assert_int_equal(err.status, MKC_E_INTERNAL);
  assert_contains(error_text(&err), message);
  error_finish(&err);
}

static void test_splices(void **state) {
  (void)state;
  assert_renders("int x = $(n);\n", "return { n = 7 }", "#line 1 \"t.c\"\nint x = 7;\n");
  assert_renders("f($(a), $(b + 1)); // $5\n", "return { a = \"y\", b = 1 }",
                 "#line 1 \"t.c\"\nf(y, 2); // $5\n");
  assert_renders("\"%d\\n\" $(f)\n", "return { f = 1 }", "#line 1 \"t.c\"\n\"%d\\n\" 1\n");
}

static void test_structure(void **state) {
  (void)state;
  assert_renders("a\n//% for i = 1, 2 do\n  b$(i)\n//% end\nc\n", "return {}",
                 "#line 1 \"t.c\"\na\n#line 3 \"t.c\"\n  b1\n#line 3 \"t.c\"\n  b2\n"
                 "#line 5 \"t.c\"\nc\n");
  assert_renders("//% if on then\na\n//% else\nb\n//% end\n", "return { on = false }",
                 "#line 4 \"t.c\"\nb\n");
}

static void test_at_names_another_source(void **state) {
  (void)state;
  assert_renders("a\n//% at(\"x\\\"y.lua\", 40)\nb\nc\n", "return {}",
                 "#line 1 \"t.c\"\na\n#line 40 \"x\\042y.lua\"\nb\n#line 4 \"t.c\"\nc\n");
}

static void test_lists(void **state) {
  (void)state;
  assert_renders("f($(each(list, \"int %\")));\n",
                 "return { list = { { field = \"a\" }, { field = \"b\" } } }",
                 "#line 1 \"t.c\"\nf(int a, int b);\n");
  assert_renders("g($(join(x, y, \"c\")));\n", "return { x = false, y = \"b\" }",
                 "#line 1 \"t.c\"\ng(b, c);\n");
}

static void test_include(void **state) {
  (void)state;
  struct error err = {0};
  char *out =
      render("a\n//% include(\"templates/tiles.k.c\")\nb\n", "return { max_levels = false }", &err);
  assert_string_equal(error_text(&err), "");
  assert_string_equal(out, "#line 1 \"t.c\"\na\n#line 3 \"t.c\"\nb\n"); /* it only defines */
  free(out);
  assert_refused("//% include(\"missing.k.c\")\n", "return {}", "no template 'missing.k.c'");
}

/* two() needs one(); three() and the head that nothing names stay out... but TILE_FN is named. */
static void test_vocabulary_holds_what_is_used(void **state) {
  (void)state;
  struct error err = {0};
  char *out = render("//% vocabulary()\nint x = two();\n", "return {}", &err);
  assert_non_null(out);
  assert_contains(out, "#define TILE_FN static");
  assert_contains(out, "int one(void)");
  assert_contains(out, "int two(void)");
  assert_null(strstr(out, "three"));
  assert_contains(out, "#else\n#include \"tile_host.h\"");
  assert_contains(out, "#endif\n#line 2 \"t.c\"\nint x = two();\n");
  free(out);
}

static void test_errors_name_the_template_line(void **state) {
  (void)state;
  assert_refused("a\nb $(missing)\n", "return {}", "t.c:2: t.c: the plan has no slot 'missing'");
  assert_refused("a\n//% if then\n", "return {}", "t.c:2:");
  assert_refused("a\n\n$(nil_here.x)\n", "return { nil_here = {} }", "t.c:3: a splice is nil");
  assert_refused("a\n", "return {", "slots:1:");
  assert_refused("//% os.exit(1)\n", "return {}", "no slot 'os'");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_splices),
      cmocka_unit_test(test_structure),
      cmocka_unit_test(test_at_names_another_source),
      cmocka_unit_test(test_lists),
      cmocka_unit_test(test_include),
      cmocka_unit_test(test_vocabulary_holds_what_is_used),
      cmocka_unit_test(test_errors_name_the_template_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
