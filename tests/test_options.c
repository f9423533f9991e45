/* SPDX-License-Identifier: MIT
 * test_options.c - tests gen/cli/options.c and args.c: the tables, and command lines good and bad.
 */
#define _XOPEN_SOURCE 700
#include "support.h"

#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = 16 };

/* Splits at spaces; the words live as long as the returned text, which the caller frees. */
static char *split(const char *line, char **words, int *ret_n) {
  char *copy = strdup(line);
  *ret_n = 0;
  for (char *w = strtok(copy, " "); w && *ret_n < MAX_WORDS; w = strtok(NULL, " "))
    words[(*ret_n)++] = w;
  return copy;
}

static void usage_error(const char *line, const char *message) {
  char *words[MAX_WORDS];
  int n;
  char *copy = split(line, words, &n);
  struct args args;
  struct error err = {0};
  if (args_parse(n, words, &args, &err) != MKC_E_USAGE) fail_msg("accepted: %s", line);
  assert_contains(error_text(&err), message);
  error_finish(&err);
  free(copy);
}

static char *good(const char *line, struct args *ret) {
  char *words[MAX_WORDS];
  int n;
  char *copy = split(line, words, &n);
  struct error err = {0};
  if (args_parse(n, words, ret, &err)) fail_msg("%s: %s", line, error_text(&err));
  return copy;
}

static void the_spellings_of_a_value_are_one(void **state) {
  (void)state;
  static const char *const lines[] = {
      "build -o x a.lua --dk 64 --emit cu", "build a.lua -ox --dk=64 --emit=cu",
      "build --output=x --emit=cu --dk=64 -- a.lua", "build --output x --dk 64 a.lua --emit=cu"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    struct args args;
    char *copy = good(lines[i], &args);
    assert_int_equal(args.command, COMMAND_BUILD);
    assert_int_equal(args.noperands, 1);
    assert_string_equal(args.operands[0], "a.lua");
    assert_string_equal(args_text(&args, OPTION_OUTPUT, ""), "x");
    assert_string_equal(args_text(&args, OPTION_EMIT, ""), "cu");
    assert_int_equal(args_number(&args, OPTION_DK, 1), 64);
    assert_int_equal(args_number(&args, OPTION_DV, 7), 7);
    assert_false(args_flag(&args, OPTION_JSON));
    args_finish(&args);
    free(copy);
  }
}

static void repeated_options_keep_their_order(void **state) {
  (void)state;
  struct args args;
  char *copy = good("run x --in q=a.npy --json --in=k=b.npy", &args);
  int cursor = 0;
  assert_string_equal(args_each(&args, OPTION_IN, &cursor), "q=a.npy");
  assert_string_equal(args_each(&args, OPTION_IN, &cursor), "k=b.npy");
  assert_null(args_each(&args, OPTION_IN, &cursor));
  assert_true(args_flag(&args, OPTION_JSON));
  args_finish(&args);
  free(copy);
}

static void dashes_can_be_operands(void **state) {
  (void)state;
  struct args args;
  char *copy = good("check -- --json", &args);
  assert_string_equal(args.operands[0], "--json");
  assert_false(args_flag(&args, OPTION_JSON));
  args_finish(&args);
  free(copy);
}

static void slips_name_the_nearest(void **state) {
  (void)state;
  usage_error("chekc x", "unknown command 'chekc'; did you mean 'check'?");
  usage_error("runn x", "did you mean 'run'?");
  usage_error("xyzzy x", "unknown command 'xyzzy'; 'maskc help' lists them");
  usage_error("run x --devise=cpu",
              "'maskc run' has no option '--devise'; did you mean '--device'?");
  usage_error("run x --qqqqqqq", "'maskc help run' lists its options");
  usage_error("check x --emit=cu", "'maskc check' has no option '--emit'");
  usage_error("run x -z", "has no option '-z'");
  usage_error("--json check x", "expected a command before '--json'");
}

static void bad_values_say_what_is_valid(void **state) {
  (void)state;
  usage_error("build x --emit=cuda", "--emit=cuda: expected one of cu|ptx|cubin");
  usage_error("build x --emit=", "expected one of cu|ptx|cubin");
  usage_error("build x --emit=c", "expected one of cu|ptx|cubin");
  usage_error("build x --dk=", "expected a whole number");
  usage_error("build x --dk=0", "expected a whole number from 1 to 65536");
  usage_error("build x --dk=-64", "expected a whole number");
  usage_error("build x --dk=64x", "expected a whole number");
  usage_error("build x --dk=99999999999999999999999", "expected a whole number");
  usage_error("build x --dk=64 --dk=128", "--dk is given twice");
  usage_error("build x -o", "--output needs a value");
  usage_error("build x --json=yes", "--json takes no value");
  usage_error("build", "'maskc build' needs SPEC");
  usage_error("check a b", "does not know what to do with 'b'");
  usage_error("cache claer",
              "'maskc cache claer': expected one of stat|prune|clear|path; did you mean 'clear'?");
  usage_error("cache", "'maskc cache' needs ACTION");
  usage_error("help --completion=tcsh", "expected one of bash|zsh|fish");
  usage_error("list a", "does not know what to do with 'a'");
}

static void help_needs_no_operands(void **state) {
  (void)state;
  struct args args;
  char *copy = good("build --help", &args);
  assert_true(args_flag(&args, OPTION_HELP));
  args_finish(&args);
  free(copy);
}

/* The tables are data: every line is complete, and every command's help shows its options. */
static void help_shows_every_option(void **state) {
  (void)state;
  for (int c = 0; c < COMMAND_COUNT; c++) {
    struct buf out = {0};
    help_command(&out, (enum command_id)c);
    assert_contains(buf_text(&out), command_table[c].summary);
    for (int o = 0; o < OPTION_COUNT; o++) {
      char flag[64];
      snprintf(flag, sizeof flag, "--%s", option_table[o].name);
      if (option_table[o].commands & 1u << c) assert_contains(buf_text(&out), flag);
    }
    buf_finish(&out);
  }
  for (int o = 0; o < OPTION_COUNT; o++) {
    assert_non_null(option_table[o].name);
    assert_non_null(option_table[o].help);
    assert_true(option_table[o].commands != 0);
    assert_true((option_table[o].kind == KIND_FLAG) == !option_table[o].value);
  }
}

static void numbers_are_whole_and_bounded(void **state) {
  (void)state;
  int64_t n;
  assert_true(parse_number("9223372036854775799", 0, INT64_MAX, &n) && n == 9223372036854775799);
  assert_false(parse_number("9223372036854775808", 0, INT64_MAX, &n));
  assert_true(parse_number("-5", -5, 5, &n) && n == -5);
  assert_false(parse_number("-6", -5, 5, &n));
  assert_false(parse_number("", 0, 9, &n));
  assert_false(parse_number("-", -9, 9, &n));
  assert_false(parse_number(" 1", 0, 9, &n));
  assert_false(parse_number("0x1", 0, 9, &n));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_spellings_of_a_value_are_one),
      cmocka_unit_test(repeated_options_keep_their_order),
      cmocka_unit_test(dashes_can_be_operands),
      cmocka_unit_test(slips_name_the_nearest),
      cmocka_unit_test(bad_values_say_what_is_valid),
      cmocka_unit_test(help_needs_no_operands),
      cmocka_unit_test(help_shows_every_option),
      cmocka_unit_test(numbers_are_whole_and_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
