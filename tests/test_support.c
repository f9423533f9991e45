/* SPDX-License-Identifier: MIT
 * The comparisons of support.c fail when they should: the rest of the tests rest on them.
 */
#define _GNU_SOURCE
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_is_close(void **state) {
  (void)state;
  assert_true(is_close(1.0, 1.0, 0, 0));
  assert_true(is_close(1.001, 1.0, 1e-2, 0));
  assert_true(is_close(1e-9, 0, 0, 1e-8));
  assert_false(is_close(1.1, 1.0, 1e-2, 0));
  assert_false(is_close(1e-9, 0, 1e-2, 0));
  assert_false(is_close(NAN, 1.0, 1e9, 1e9));
  assert_false(is_close(1.0, NAN, 1e9, 1e9));
  assert_false(is_close(NAN, NAN, 1e9, 1e9));
  assert_false(is_close(INFINITY, INFINITY, 1e9, 1e9));
  assert_false(is_close(1.0, INFINITY, 1e9, 1e9));
  assert_false(is_close(1.0, 1.0, NAN, 0));
}

static void test_relative_l2(void **state) {
  (void)state;
  const double x[] = {3, 4}, near[] = {3, 4.05}, zero[] = {0, 0}, bad[] = {3, NAN};
  assert_close(relative_l2(x, x, 2), 0, 0, 0);
  assert_close(relative_l2(near, x, 2), 0.01, 1e-9, 0);
  assert_close(relative_l2(zero, zero, 2), 0, 0, 0);
  assert_true(isinf(relative_l2(x, zero, 2)));
  assert_true(isinf(relative_l2(bad, x, 2)));
  assert_true(isinf(relative_l2(x, bad, 2)));
  assert_true(isinf(relative_l2(bad, bad, 2)));
  assert_true(isinf(relative_l2(x, x, 0)));
}

static void test_first_difference(void **state) {
  (void)state;
  assert_null(first_difference("a\nb\n", "a\nb\n"));
  assert_null(first_difference("", ""));
  char *d = first_difference("a\nbc\nd\n", "a\nbx\nd\n");
  assert_string_equal(d, "line 2:\n  expected: bc\n  actual:   bx\n");
  free(d);
  d = first_difference("a\n", "a\nb");
  assert_string_equal(d, "line 2:\n  expected: (end of text)\n  actual:   b\n");
  free(d);
}

static void expect_command(const char *script, int status, const char *out, const char *err) {
  struct command_result r;
  command_run((const char *[]){"sh", "-c", script, NULL},
              (const char *[]){"MKC_TEST_SET=yes", "HOME", NULL}, &r);
  assert_int_equal(r.status, status);
  assert_string_equal(r.out, out);
  assert_string_equal(r.err, err);
  command_result_finish(&r);
}

static void test_command(void **state) {
  (void)state;
  expect_command("echo out; echo err >&2; exit 3", 3, "out\n", "err\n");
  expect_command("echo $MKC_TEST_SET${HOME-unset}", 0, "yesunset\n", "");
  expect_command("cat", 0, "", "");
  expect_command("kill -9 $$", 128 + 9, "", "");
  assert_non_null(getenv("MKC_SOURCE_ROOT"));
  assert_null(getenv("MKC_TEST_SET"));
}

/* More than a pipe holds, on both. */
static void test_command_long_output(void **state) {
  (void)state;
  struct command_result r;
  command_run((const char *[]){"sh", "-c",
                               "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); "
                               "printf '%0100d' $i >&2; printf '%0100d' $i; done",
                               NULL},
              NULL, &r);
  assert_int_equal(r.status, 0);
  assert_int_equal(strlen(r.out), 300000);
  assert_int_equal(strlen(r.err), 300000);
  assert_string_equal(r.out, r.err);
  command_result_finish(&r);
}

static void test_command_missing(void **state) {
  (void)state;
  struct command_result r;
  command_run((const char *[]){"/nowhere/program", NULL}, NULL, &r);
  assert_int_equal(r.status, 127);
  assert_contains(r.err, "/nowhere/program: No such file");
  command_result_finish(&r);
}

static void test_files(void **state) {
  (void)state;
  char *dir = temp_dir(), path[300], below[300];
  snprintf(below, sizeof below, "%s/below", dir);
  snprintf(path, sizeof path, "%s/file", dir);
  assert_true(write_file(path, "a\0b", 3));
  assert_int_equal(symlink("/", below), 0); /* must not be followed */
  size_t len = 0;
  char *text = read_file(path, &len);
  assert_int_equal(len, 3);
  assert_memory_equal(text, "a\0b", 4);
  free(text);
  remove_dir(dir);
  assert_int_equal(access(dir, F_OK), -1);
  assert_int_equal(access("/", F_OK), 0);
  assert_null(read_file(path, NULL));
  free(dir);
}

/* Runs this program again, so that a failing assertion can be seen to fail. */
static void expect_failure(const char *self, const char *which, const char *message) {
  struct command_result r;
  command_run((const char *[]){self, which, NULL}, (const char *[]){"UPDATE_GOLDEN", NULL}, &r);
  assert_int_equal(r.status, 1);
  assert_contains(r.err, message);
  command_result_finish(&r);
}

static void test_assertions_fail(void **state) {
  const char *self = *state;
  expect_failure(self, "close", "is nan, expected 1");
  expect_failure(self, "arrays", "first at [1]: nan, expected 2");
  expect_failure(self, "contains", "not found: \"needle\"");
  expect_failure(self, "golden", "tests/golden/no_such_file is missing");
}

static void fails_close(void **state) {
  assert_close(*state ? 1 : (double)NAN, 1, 1e9, 1e9);
}
static void fails_arrays(void **state) {
  (void)state;
  assert_arrays_close(((const double[]){1, NAN}), ((const double[]){1, 2}), 2, 1e9);
}
static void fails_contains(void **state) {
  (void)state;
  assert_contains("hay", "needle");
}
static void fails_golden(void **state) {
  (void)state;
  assert_golden("no_such_file", "text\n");
}

static int run_failing(const char *which) {
  const struct CMUnitTest failing[] = {
      {"close", fails_close, NULL, NULL, NULL},
      {"arrays", fails_arrays, NULL, NULL, NULL},
      {"contains", fails_contains, NULL, NULL, NULL},
      {"golden", fails_golden, NULL, NULL, NULL},
  };
  cmocka_set_test_filter(which);
  return cmocka_run_group_tests_name("failing", failing, NULL, NULL);
}

int main(int argc, char **argv) {
  if (argc > 1) return run_failing(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_is_close),
      cmocka_unit_test(test_relative_l2),
      cmocka_unit_test(test_first_difference),
      cmocka_unit_test(test_command),
      cmocka_unit_test(test_command_long_output),
      cmocka_unit_test(test_command_missing),
      cmocka_unit_test(test_files),
      cmocka_unit_test_prestate(test_assertions_fail, argv[0]),
  };
  return cmocka_run_group_tests_name("support", tests, NULL, NULL);
}
