/* SPDX-License-Identifier: MIT
 * test_diag.c - finding the place of an error in a spec's text, and spelling.
 */
#include "support.h"

#include "diag.h"
#include "lex.h"

#include <string.h>

struct world {
  struct arena arena;
  jmp_buf out_of_memory;
  struct diag diag;
  struct buf out;
};

static void world_init(struct world *w) {
  memset(w, 0, sizeof *w);
  arena_init(&w->arena, &w->out_of_memory);
  w->diag.arena = &w->arena;
}

static void world_finish(struct world *w) {
  buf_finish(&w->out);
  arena_finish(&w->arena);
}

static const char *render(struct world *w, const char *text) {
  int line, col;
  diag_render(&w->diag, &w->out, "a.lua", text, strlen(text), &line, &col);
  struct buf place = {0};
  buf_printf(&place, "a.lua:%d:%d: error: ", line, col);
  assert_contains(buf_text(&w->out), buf_text(&place));
  buf_finish(&place);
  return buf_text(&w->out);
}

static void caret_goes_under_the_word(void **state) {
  (void)state;
  struct world w;
  world_init(&w);
  diag_error(&w.diag, "decay", "no");
  diag_note(&w.diag, "yes");
  w.diag.line = 2;
  assert_string_equal(render(&w, "-- decay\n\tx = decay(3)\n"),
                      "a.lua:2:6: error: no\n\tx = decay(3)\n\t    ^~~~~\n  note: yes\n");
  world_finish(&w);
}

static void comments_and_strings_are_no_code(void **state) {
  (void)state;
  struct world w;
  world_init(&w);
  diag_error(&w.diag, "k", "no");
  w.diag.line = 2;
  assert_contains(render(&w, "--[==[ ]] \n k ]==] a = [[ k k ]] .. \"k k\\\" k\" .. k -- k\n"),
                  "a.lua:2:39: error: no\n");
  world_finish(&w);
}

static void one_of_several_is_not_guessed(void **state) {
  (void)state;
  struct world w;
  world_init(&w);
  diag_error(&w.diag, "f", "no");
  w.diag.line = 1;
  assert_contains(render(&w, "  f(x) + f(y) + f(z)"), "a.lua:1:3:");
  w.out.len = 0;
  w.diag.before = "y";
  assert_contains(render(&w, "  f(x) + f(y) + f(z)"), "a.lua:1:10:");
  w.out.len = 0;
  w.diag.before = NULL;
  w.diag.last = true;
  assert_contains(render(&w, "  f(x) + f(y) + f(z)"), "a.lua:1:17:");
  world_finish(&w);
}

static void fields_are_found_at_their_depth(void **state) {
  (void)state;
  static const char text[] = "local variant_ = 1\n"
                             "return variant {\n"
                             "  x = input { \"x\", max = { mask = 1 } }, mask == 3,\n"
                             "  branches = { { q = 1 }, { mask = 2 } },\n"
                             "  mask = 4 }\n";
  struct token t;
  assert_true(lex_find_field(text, strlen(text), 2, 0, "mask", &t));
  assert_int_equal(t.line, 5);
  assert_true(lex_find_field(text, strlen(text), 2, 2, "mask", &t));
  assert_int_equal(t.line, 4);
  assert_true(lex_find_field(text, strlen(text), 2, 1, "mask", &t)); /* inherited */
  assert_int_equal(t.line, 5);
  assert_false(lex_find_field(text, strlen(text), 2, 0, "q", &t));
  assert_false(lex_find_field(text, strlen(text), 3, 0, "mask", &t));
}

static void only_the_first_error_counts(void **state) {
  (void)state;
  struct world w;
  world_init(&w);
  diag_error(&w.diag, "a", "first");
  diag_error(&w.diag, "b", "second");
  assert_string_equal(w.diag.message, "first");
  assert_string_equal(w.diag.word, "a");
  world_finish(&w);
}

static void places_that_do_not_exist(void **state) {
  (void)state;
  struct world w;
  world_init(&w);
  diag_error(&w.diag, NULL, "no");
  w.diag.line = 99;
  assert_string_equal(render(&w, "x\n"), "a.lua:99:1: error: no\n");
  w.out.len = 0;
  w.diag.line = 0;
  assert_string_equal(render(&w, ""), "a.lua:1:1: error: no\n");
  world_finish(&w);
}

static void quoted_text_is_harmless(void **state) {
  (void)state;
  struct world w;
  world_init(&w);
  assert_string_equal(diag_quote(&w.arena, "a\"\\\n\x1b\xff", 6), "\"a\\\"\\\\\\n\\x1b\\xff\"");
  assert_string_equal(diag_quote(&w.arena, "", 0), "\"\"");
  diag_put_clean(&w.out, "\t\xc3\xa4\xc2\x9b\xff\r\xe2\x80\xae\xf0\x9f\x98\x80\xf0\x9f", 16);
  assert_string_equal(buf_text(&w.out), "\t\xc3\xa4???"
                                        "????"
                                        "\xf0\x9f\x98\x80??");
  w.out.len = 0;
  diag_put_clean(&w.out, "a\xe2\x81\xa6 b\xe2\x80\x8f c\xe2\x82\xac", 14); /* U+2066, 200F, euro */
  assert_string_equal(buf_text(&w.out), "a??? b??? c\xe2\x82\xac");
  world_finish(&w);
}

static void spelling(void **state) {
  (void)state;
  static const char *const names[] = {"decay", "delta", "transition", "o", "dk", NULL};
  assert_string_equal(diag_nearest("dekay", names), "decay");
  assert_string_equal(diag_nearest("Delta", names), "delta");
  assert_string_equal(diag_nearest("transitoin", names), "transition");
  assert_null(diag_nearest("g", names));
  assert_null(diag_nearest("beta_rate", names));
  assert_null(diag_nearest("", names));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(caret_goes_under_the_word),
      cmocka_unit_test(comments_and_strings_are_no_code),
      cmocka_unit_test(one_of_several_is_not_guessed),
      cmocka_unit_test(fields_are_found_at_their_depth),
      cmocka_unit_test(only_the_first_error_counts),
      cmocka_unit_test(places_that_do_not_exist),
      cmocka_unit_test(quoted_text_is_harmless),
      cmocka_unit_test(spelling),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
