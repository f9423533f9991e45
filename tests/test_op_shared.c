/* SPDX-License-Identifier: MIT
 * test_op_shared.c - ops of equal options are one op: what counts as equal, how long it lives, from
 * several threads, and what finding it costs.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "op_key.h"

static const char text[] = "return variant { name = 'x', transition = { decay(0.5) } }\n";

static mkc_op_options options_of(const char *spec) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  o.spec_path = spec;
  o.device = "cpu";
  o.dk = o.dv = 64;
  return o;
}

static mkc_op *create(mkc_context *ctx, const mkc_op_options *o) {
  mkc_op *op;
  if (mkc_op_create(ctx, o, &op)) fail_msg("%s", mkc_last_error());
  return op;
}

static mkc_context *new_context(void) {
  mkc_context *ctx;
  assert_int_equal(mkc_context_create(NULL, &ctx), MKC_OK);
  return ctx;
}

static void test_equal_options_are_one_op(void **state) {
  (void)state;
  mkc_context *ctx = new_context(), *other = new_context();
  char name[] = "simple_gla"; /* equal, at another address */
  const mkc_op_options a = options_of("simple_gla"), b = options_of(name);
  mkc_op *first = create(ctx, &a), *second = create(ctx, &b), *apart = create(other, &a);
  assert_ptr_equal(first, second);
  assert_ptr_not_equal(first, apart);
  mkc_op_options wider = a;
  wider.dv = 128;
  mkc_op *wide = create(ctx, &wider);
  assert_ptr_not_equal(first, wide);
  mkc_context_destroy(ctx); /* first of all */
  mkc_op_destroy(first);
  assert_int_equal(mkc_op_arg_index(second, "q"), mkc_op_arg_index(wide, "q")); /* still there */
  mkc_op_destroy(second);
  mkc_op_destroy(wide);
  mkc_context_destroy(other);
  mkc_op_destroy(apart);
}

/* After the last destroy it is made anew: the table holds nothing itself. */
static void test_lives_as_long_as_it_is_held(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  const mkc_op_options o = options_of("retnet");
  mkc_op *op = create(ctx, &o);
  char *source = strdup(mkc_op_source(op));
  mkc_op *same = create(ctx, &o);
  mkc_op_destroy(op);
  assert_string_equal(mkc_op_source(same), source);
  mkc_op_destroy(same);
  op = create(ctx, &o);
  assert_string_equal(mkc_op_source(op), source);
  mkc_op_destroy(op);
  free(source);
  mkc_context_destroy(ctx);
}

/* A file's text counts, not its name. */
static void test_a_changed_file_is_another_op(void **state) {
  (void)state;
  mkc_context *ctx = new_context();
  char *dir = temp_dir(), path[4200];
  snprintf(path, sizeof path, "%s/x.lua", dir);
  const mkc_op_options o = options_of(path);
  write_file(path, text, strlen(text));
  mkc_op *first = create(ctx, &o), *second = create(ctx, &o);
  assert_ptr_equal(first, second);
  char *changed = strdup(text);
  memcpy(strstr(changed, "0.5"), "0.7", 3); /* of the same length */
  write_file(path, changed, strlen(changed));
  mkc_op *third = create(ctx, &o);
  assert_ptr_not_equal(first, third);
  assert_true(strcmp(mkc_op_source(first), mkc_op_source(third)) != 0);
  mkc_op_destroy(first);
  mkc_op_destroy(second);
  mkc_op_destroy(third);
  free(changed);
  remove_dir(dir);
  free(dir);
  mkc_context_destroy(ctx);
}

static bool same_key(const mkc_op_options *a, const char *a_text, const mkc_op_options *b,
                     const char *b_text) {
  struct op_key first, second, copy;
  op_key_of(a, a_text, a_text ? strlen(a_text) : 0, &first);
  op_key_of(b, b_text, b_text ? strlen(b_text) : 0, &second);
  assert_true(op_key_copy(NULL, &second, &copy));
  assert_true(op_key_equal(&second, &copy));
  const bool same = op_key_equal(&first, &second);
  assert_int_equal(op_key_equal(&first, &copy), same);
  op_key_finish(NULL, &copy);
  return same;
}

/* Each field by itself makes another key. */
static void test_what_counts(void **state) {
  (void)state;
  static const mkc_setting four = {"window", 4}, five = {"window", 5}, size = {"size", 4};
  mkc_op_options base = options_of("simple_gla");
  base.settings = &four;
  base.nsettings = 1;
  mkc_op_options changed[16];
  int n = 0;
#define CHANGE(field, value) changed[n] = base, changed[n++].field = (value)
  CHANGE(spec_path, "retnet");
  CHANGE(spec_path, NULL);
  CHANGE(device, "cuda:0");
  CHANGE(arch, "sm_80");
  CHANGE(arch, "");
  CHANGE(pass, MKC_STEP);
  CHANGE(dtype, MKC_F16);
  CHANGE(dk, 128);
  CHANGE(dv, 128);
  CHANGE(chunk, 16);
  CHANGE(check, MKC_CHECK_RACE);
  CHANGE(align, 8);
  CHANGE(heads, 8);
  CHANGE(nsettings, 0);
  CHANGE(settings, &five);
  CHANGE(settings, &size);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      assert_int_equal(same_key(&changed[i], NULL, &changed[j], NULL), i == j);
  assert_true(same_key(&base, text, &base, text));
  assert_false(same_key(&base, NULL, &base, text));
  assert_false(same_key(&base, NULL, &base, ""));
  assert_false(same_key(&base, "return 1", &base, "return 2"));
  assert_false(same_key(&base, "return 1", &base, "return 11"));
}

struct race {
  mkc_context *ctx;
  mkc_op *op;
};

static void *create_in_thread(void *data) {
  struct race *r = data;
  const mkc_op_options o = options_of("mamba2");
  r->op = create(r->ctx, &o);
  return NULL;
}

static void test_threads_get_one_op(void **state) {
  (void)state;
  enum { THREADS = 8 };
  mkc_context *ctx = new_context();
  struct race races[THREADS];
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    races[i] = (struct race){ctx, NULL};
    assert_int_equal(pthread_create(&threads[i], NULL, create_in_thread, &races[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++) assert_ptr_equal(races[i].op, races[0].op);
  for (int i = 0; i < THREADS; i++) mkc_op_destroy(races[i].op);
  mkc_context_destroy(ctx);
}

static double ns_of_finding(const mkc_op_options *o, int ops) {
  enum { TIMES = 100000 };
  mkc_context *ctx = new_context();
  mkc_op *held[16], *op = create(ctx, o);
  struct timespec start, end;
  for (int i = 0; i < ops; i++) { /* others in the table */
    mkc_op_options other = options_of("retnet");
    other.heads = i + 1;
    held[i] = create(ctx, &other);
  }
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int i = 0; i < TIMES; i++) {
    mkc_op *found;
    mkc_op_create(ctx, o, &found);
    mkc_op_destroy(found);
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  for (int i = 0; i < ops; i++) mkc_op_destroy(held[i]);
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
  return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
         TIMES;
}

static void test_finding_is_cheap(void **state) {
  (void)state;
  const mkc_op_options named = options_of("simple_gla");
  mkc_op_options given = options_of(NULL);
  given.spec_text = text;
  const double by_name = ns_of_finding(&named, 16), by_text = ns_of_finding(&given, 16);
  print_message("create and destroy of an op that is there: %.0f ns by name, %.0f ns by text\n",
                by_name, by_text);
  assert_true(by_name < 5000 && by_text < 5000); /* it was generated, or a file was read */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_equal_options_are_one_op),
      cmocka_unit_test(test_lives_as_long_as_it_is_held),
      cmocka_unit_test(test_a_changed_file_is_another_op),
      cmocka_unit_test(test_what_counts),
      cmocka_unit_test(test_threads_get_one_op),
      cmocka_unit_test(test_finding_is_cheap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
