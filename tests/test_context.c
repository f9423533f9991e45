/* SPDX-License-Identifier: MIT
 * Contexts and the last error: log hooks, options, one text a thread.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"

static char logged[256];
static int logged_level;

static void on_log(void *user, int level, const char *line) {
  *(int *)user += 1;
  logged_level = level;
  snprintf(logged, sizeof logged, "%s", line);
}

static void test_log(void **state) {
  (void)state;
  int lines = 0;
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  options.log = on_log;
  options.log_user = &lines;
  assert_int_equal(mkc_context_create(&options, &ctx), MKC_OK);
  context_log(ctx, LOG_INFO, "%d words", 2);
  assert_int_equal(lines, 1);
  assert_int_equal(logged_level, LOG_INFO);
  assert_string_equal(logged, "2 words");
  mkc_context_destroy(ctx);
  assert_int_equal(mkc_context_create(NULL, &ctx), MKC_OK);
  context_log(ctx, LOG_WARNING, "nobody hears this");
  assert_int_equal(lines, 1);
  mkc_context_destroy(ctx);
}

/* An older caller's struct ends earlier; what it lacks has its default. */
static void test_older_caller(void **state) {
  (void)state;
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  int lines = 0;
  options.log = on_log; /* past the end that struct_size gives */
  options.log_user = &lines;
  options.struct_size = offsetof(mkc_context_options, log);
  assert_int_equal(mkc_context_create(&options, &ctx), MKC_OK);
  context_log(ctx, LOG_WARNING, "nobody hears this");
  assert_int_equal(lines, 0);
  mkc_context_destroy(ctx);
}

static void test_references(void **state) {
  (void)state;
  mkc_context *ctx;
  assert_int_equal(mkc_context_create(NULL, &ctx), MKC_OK);
  assert_ptr_equal(context_retain(ctx), ctx);
  mkc_context_destroy(ctx);
  assert_non_null(context_cache(ctx)); /* still there */
  context_release(ctx);
}

static void *other_thread(void *unused) {
  (void)unused;
  assert_string_equal(mkc_last_error(), "");
  assert_int_equal(mkc_context_create(NULL, NULL), MKC_E_USAGE);
  assert_contains(mkc_last_error(), "mkc_context_create");
  return NULL;
}

static void test_last_error(void **state) {
  (void)state;
  struct error err = {0};
  pthread_t thread;
  error_set(&err, MKC_E_FILE, "%s", "x.lua: gone");
  assert_int_equal(last_error_take(&err), MKC_E_FILE);
  assert_null(err.text);
  assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
  pthread_join(thread, NULL);
  assert_string_equal(mkc_last_error(), "x.lua: gone");
}

static void test_version(void **state) {
  (void)state;
  char text[64];
  assert_string_equal(mkc_version(), MKC_VERSION_STRING);
  assert_int_equal(mkc_version_number(), MKC_VERSION_NUMBER);
  const int n = mkc_version_number();
  snprintf(text, sizeof text, "%d.%d.%d", n / 1000000, n / 1000 % 1000, n % 1000);
  assert_string_equal(text, mkc_version());
}

static void test_categories(void **state) {
  (void)state;
  const struct {
    int status;
    mkc_category category;
  } cases[] = {{MKC_OK, MKC_CATEGORY_OK},
               {MKC_E_SPEC, MKC_CATEGORY_INPUT},
               {MKC_E_NOT_PREPARED, MKC_CATEGORY_USAGE},
               {MKC_E_NO_NVRTC, MKC_CATEGORY_ENVIRONMENT},
               {MKC_E_COMPILE, MKC_CATEGORY_INTERNAL},
               {MKC_E_TOLERANCE, MKC_CATEGORY_TOLERANCE},
               {3999, MKC_CATEGORY_ENVIRONMENT}, /* of a later version */
               {17, MKC_CATEGORY_INTERNAL},
               {6001, MKC_CATEGORY_INTERNAL},
               {-1001, MKC_CATEGORY_INTERNAL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(mkc_status_category((mkc_status)cases[i].status), cases[i].category);
  assert_string_equal(mkc_status_string((mkc_status)3999), "unknown status");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log),        cmocka_unit_test(test_older_caller),
      cmocka_unit_test(test_references), cmocka_unit_test(test_last_error),
      cmocka_unit_test(test_version),    cmocka_unit_test(test_categories),
  };
  unsetenv("MASKC_VERBOSE");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
