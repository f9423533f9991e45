/* SPDX-License-Identifier: MIT
 * support.h - what the tests share: comparisons that NaN cannot pass, golden files, commands.
 *
 * Include this first: it includes cmocka with what cmocka needs. Do not use assert_float_equal:
 * in cmocka 1.1 NaN passes it.
 */
#ifndef MKC_TESTS_SUPPORT_H
#define MKC_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- numbers ---- */

/* |actual - expected| <= abs_tol + rel_tol * |expected|. False for NaN and inf, on either side. */
bool is_close(double actual, double expected, double rel_tol, double abs_tol);

/* sqrt(sum (actual - expected)^2 / sum expected^2); inf when any element is not finite, when n is
 * 0, or when expected is all zero and actual is not. */
double relative_l2(const double *actual, const double *expected, size_t n);

#define assert_close(actual, expected, rel_tol, abs_tol) \
  support_assert_close((actual), (expected), (rel_tol), (abs_tol), #actual, __FILE__, __LINE__)

#define assert_arrays_close(actual, expected, n, tol) \
  support_assert_arrays((actual), (expected), (n), (tol), #actual, __FILE__, __LINE__)

void support_assert_close(double actual, double expected, double rel_tol, double abs_tol,
                          const char *what, const char *file, int line);
void support_assert_arrays(const double *actual, const double *expected, size_t n, double tol,
                           const char *what, const char *file, int line);

/* ---- text ---- */

/* Fails, printing all of `text`, when it does not contain `part`. */
#define assert_contains(text, part) support_assert_contains((text), (part), __FILE__, __LINE__)
void support_assert_contains(const char *text, const char *part, const char *file, int line);

/* Compares text with tests/golden/NAME; with UPDATE_GOLDEN=1 in the environment writes it there
 * instead. Fails with the first line that differs. */
#define assert_golden(name, text) support_assert_golden((name), (text), __FILE__, __LINE__)
void support_assert_golden(const char *name, const char *text, const char *file, int line);

/* Where two texts first differ, as lines to print; NULL when they are equal. The caller frees. */
char *first_difference(const char *expected, const char *actual);

/* ---- files ---- */

/* Paths in the source tree and in the build tree, wherever the test was started. The caller frees:
 *   source_path("specs/retnet.lua")   build_path("gen/cli/maskc") */
char *source_path(const char *relative);
char *build_path(const char *relative);

char *read_file(const char *path, size_t *ret_len); /* NULL: unreadable. NUL-terminated; free it */
bool write_file(const char *path, const void *data, size_t len);

/* A new empty folder in $TMPDIR. The caller frees the path. */
char *temp_dir(void);
void remove_dir(const char *path); /* with what is in it; links are not followed */

/* ---- commands ---- */

struct command_result {
  int status; /* exit status; 128 + n when signal n ended it; -1 when it could not be started */
  char *out, *err; /* all it wrote; NUL-terminated */
};

/* Runs argv[0] (found in PATH if it has no slash), stdin empty, without a shell. env: NULL, or a
 * NULL-ended list of "NAME=value" to set and "NAME" to unset. */
void command_run(const char *const *argv, const char *const *env, struct command_result *ret);
void command_result_finish(struct command_result *r);

#endif
