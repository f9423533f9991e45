/* SPDX-License-Identifier: MIT
 * test_ref_check.c - random arrays, the relative error, and the comparison of engines, on variants
 * with planted errors and on every spec of the repository.
 */
#include "ref_world.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the small tools ---- */

static void test_relative_l2(void **state) {
  (void)state;
  const double x[] = {3, 4}, y[] = {3, 4.5}, nan[] = {3, NAN}, inf[] = {INFINITY, 4}, zero[2] = {0};
  assert_close(ref_relative_l2(x, x, 2), 0, 0, 0);
  assert_close(ref_relative_l2(y, x, 2), 0.1, 1e-15, 0);
  assert_true(isinf(ref_relative_l2(nan, x, 2)));
  assert_true(isinf(ref_relative_l2(x, nan, 2)));
  assert_true(isinf(ref_relative_l2(inf, inf, 2)));
  assert_true(isinf(ref_relative_l2(x, zero, 2)));
  assert_close(ref_relative_l2(zero, zero, 2), 0, 0, 0);
  const double big[] = {3e200, 4e200}, near[] = {3e200, 4.5e200};
  assert_close(ref_relative_l2(near, big, 2), 0.1, 1e-15, 0);
}

static void test_draw(void **state) {
  (void)state;
  enum { N = 10000 };
  static double x[N], y[N];
  struct leaf l = {.name = "x", .min = -INFINITY, .max = INFINITY};
  double mean = 0, square = 0;
  ref_draw(&l, 1, x, N);
  for (int i = 0; i < N; i++) {
    mean += x[i] / N;
    square += x[i] * x[i] / N;
  }
  assert_close(mean, 0, 0, 0.05);
  assert_close(square, 1, 0.05, 0);
  ref_draw(&l, 1, y, N);
  assert_memory_equal(x, y, sizeof x);
  ref_draw(&l, 2, y, N);
  assert_false(ref_relative_l2(y, x, N) <= 1);
  l.name = "y"; /* another leaf of the same variant, with the same seed */
  ref_draw(&l, 1, y, N);
  assert_false(ref_relative_l2(y, x, N) <= 1);
  l = (struct leaf){.name = "g", .min = -INFINITY, .max = 0, .fp32 = true};
  ref_draw(&l, 1, x, N);
  mean = 0;
  for (int i = 0; i < N; i++) {
    assert_true(x[i] <= 0);
    mean += x[i] / N;
  }
  assert_close(mean, -0.24, 0.05, 0); /* a gate of exp(-0.24), about 0.8 */
  l.min = -1;
  l.max = 2;
  ref_draw(&l, 1, x, N);
  for (int i = 0; i < N; i++) assert_true(x[i] >= -1 && x[i] <= 2);
  l.max = INFINITY;
  ref_draw(&l, 1, x, N);
  for (int i = 0; i < N; i++) assert_true(x[i] >= -1);
}

static const struct ref_report *find_report(const struct ref_report *r, int n, const char *what) {
  for (int i = 0; i < n; i++) {
    if (!strcmp(r[i].what, what)) return &r[i];
  }
  fail_msg("no report '%s'", what);
  return NULL;
}

static void test_check(void **state) {
  (void)state;
  struct ref_report reports[REF_MAX_REPORTS];
  struct error err = {0};
  int n = 0;
  struct world *w = world_create();
  const struct expr *g = input(w, "g", AXIS_NONE);
  ((struct leaf *)g->leaf)->max = 0;
  ((struct leaf *)g->leaf)->fp32 = true;
  add_decay(w, g);
  w->variant.nleaves = w->nleaves;
  if (ref_check(&w->variant, 3, reports, &n, &err)) fail_msg("%s", error_text(&err));
  assert_int_equal(n, 4);
  for (int i = 0; i < n; i++) assert_true(reports[i].ok && reports[i].error <= 1e-12);
  assert_true(find_report(reports, n, "state = dense")->error > 0); /* two different sums */

  w->branch.score = times(w, number(w, 1 + 1e-9), w->branch.score); /* but linear says qk itself */
  assert_int_equal(ref_check(&w->variant, 3, reports, &n, &err), MKC_E_TOLERANCE);
  assert_contains(error_text(&err), "state = dense does not hold: relative error 1.0e-09");
  assert_false(find_report(reports, n, "state = dense")->ok);
  assert_true(find_report(reports, n, "chunked = state")->ok);
  error_finish(&err);
  world_destroy(w);

  w = world_create(); /* the state grows by e^200 a token */
  add_decay(w, number(w, 200));
  w->variant.nleaves = w->nleaves;
  assert_int_equal(ref_check(&w->variant, 3, reports, &n, &err), MKC_E_TOLERANCE);
  assert_contains(error_text(&err), "o is not finite");
  assert_false(find_report(reports, n, "o is finite")->ok);
  error_finish(&err);
  world_destroy(w);

  w = mlstm_create(); /* the state engine keeps k_rest exp(log_write), the dense one k */
  if (ref_check(&w->variant, 3, reports, &n, &err)) fail_msg("%s", error_text(&err));
  w->branch.k_rest = times(w, number(w, 1.001), w->branch.k_rest);
  assert_int_equal(ref_check(&w->variant, 3, reports, &n, &err), MKC_E_TOLERANCE);
  error_finish(&err);
  world_destroy(w);
}

/* ---- every spec of the repository ---- */

static void check_spec(const char *path) {
  struct arena a;
  jmp_buf oom;
  struct error err = {0};
  const struct variant *v = NULL;
  struct ref_report reports[REF_MAX_REPORTS];
  int n = 0;
  size_t len;
  char *text = read_file(path, &len);
  assert_non_null(text);
  arena_init(&a, &oom);
  if (setjmp(oom)) fail_msg("out of memory");
  if (spec_load(path, text, len, &a, &v, &err)) fail_msg("%s", error_text(&err));
  if (ref_check(v, 1, reports, &n, &err)) fail_msg("%s: %s", path, error_text(&err));
  assert_true(n > 0); /* at least two engines compute it */
  arena_finish(&a);
  free(text);
}

/* Returns how many there are. */
static int check_folder(const char *relative) {
  char *folder = source_path(relative), path[4096];
  DIR *dir = opendir(folder);
  assert_non_null(dir);
  int n = 0;
  for (const struct dirent *entry; (entry = readdir(dir));) {
    const char *dot = strrchr(entry->d_name, '.');
    if (!dot || strcmp(dot, ".lua") != 0) continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    check_spec(path);
    n++;
  }
  closedir(dir);
  free(folder);
  return n;
}

static void test_every_spec(void **state) {
  (void)state;
  assert_true(check_folder("specs") > 0);
  assert_true(check_folder("tests/specs") > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_relative_l2),
      cmocka_unit_test(test_draw),
      cmocka_unit_test(test_check),
      cmocka_unit_test(test_every_spec),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
