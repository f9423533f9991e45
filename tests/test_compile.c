/* SPDX-License-Identifier: MIT
 * Source to code through the cache: a hit gives the same bytes and never opens NVRTC. Each step is
 * a process of its own, since a library that was opened once stays. Skipped where there is no
 * NVRTC.
 */
#define _GNU_SOURCE
#include "support.h"

#include <dlfcn.h>

#include "child.h"
#include "compile.h"
#include "context.h"

static char *cache; /* a directory */
static const char *text;
static const char *arch = "sm_80";
static enum nvrtc_kind kind;

static const char kernel[] =
    "#line 3 \"a.k.c\"\nextern \"C\" __global__ void k(int *x) { *x = 1; }\n";
static const char moved[] =
    "#line 9 \"b.k.c\"\nextern \"C\" __global__ void k(int *x) { *x = 1; }\n";
static const char other[] =
    "#line 3 \"a.k.c\"\nextern \"C\" __global__ void k(int *x) { *x = 2; }\n";

/* "STATUS opened|unopened LENGTH DIGEST" or the error. */
static void compile(FILE *out) {
  struct error err = {0};
  struct op_source source = {.text = (char *)(uintptr_t)text, .name = "k", .entry = "k"};
  struct nvrtc_location location;
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  void *code = NULL;
  size_t len = 0;
  unsigned char digest[SHA256_BYTES];
  char hex[2 * SHA256_BYTES + 1];
  options.cache_dir = cache;
  snprintf(source.arch, sizeof source.arch, "%s", arch);
  mkc_context_create(&options, &ctx);
  const mkc_status st = compile_source(ctx, &source, kind, &code, &len, &err);
  sha256(code, len, digest);
  sha256_hex(digest, hex);
  const bool opened = nvrtc_locate(&location, &(struct error){0}) == MKC_OK &&
                      dlopen(location.path, RTLD_NOW | RTLD_NOLOAD);
  fprintf(out, "%s %zu %s %d %s", opened ? "opened" : "unopened", len, hex, (int)st,
          error_text(&err));
  error_finish(&err);
  free(code);
  mkc_context_destroy(ctx);
}

static char *run(const char *source) {
  text = source;
  return child_output(compile);
}

/* What was compiled, without whether NVRTC was opened for it. */
static const char *code_of(const char *output) {
  return strchr(output, ' ');
}

static char *copy_of(const char *value) {
  return value ? strdup(value) : NULL;
}

static bool have_nvrtc(void) {
  struct error err = {0};
  struct nvrtc_location location;
  const bool have = nvrtc_locate(&location, &err) == MKC_OK;
  error_finish(&err);
  return have;
}

static int setup(void **state) {
  (void)state;
  cache = temp_dir();
  arch = "sm_80";
  kind = NVRTC_CUBIN;
  return 0;
}

static int teardown(void **state) {
  (void)state;
  remove_dir(cache);
  free(cache);
  return 0;
}

static void test_hit(void **state) {
  (void)state;
  if (!have_nvrtc()) skip();
  char *cold = run(kernel), *warm = run(kernel), *line = run(moved), *changed = run(other);
  assert_memory_equal(cold, "opened ", 7);
  assert_contains(cold, " 0 "); /* no error */
  assert_memory_equal(warm, "unopened ", 9);
  assert_string_equal(code_of(warm), code_of(cold));
  assert_memory_equal(line, "unopened ", 9); /* #line names no code */
  assert_string_equal(code_of(line), code_of(cold));
  assert_memory_equal(changed, "opened ", 7);
  assert_string_not_equal(code_of(changed), code_of(cold));
  free(cold), free(warm), free(line), free(changed);
}

static void test_what_makes_another_entry(void **state) {
  (void)state;
  if (!have_nvrtc()) skip();
  free(run(kernel));
  kind = NVRTC_PTX;
  char *ptx = run(kernel);
  assert_memory_equal(ptx, "opened ", 7);
  kind = NVRTC_CUBIN;
  arch = "sm_90a";
  char *hopper = run(kernel);
  assert_memory_equal(hopper, "opened ", 7);
  free(ptx), free(hopper);
}

/* NVRTC works on in a child that was forked after it had compiled. */
static void compile_then_fork(FILE *out) {
  FILE *ignored = fopen("/dev/null", "w");
  text = kernel;
  compile(ignored);
  fclose(ignored);
  char *child = run(other);
  fprintf(out, "%s", child);
  free(child);
}

static void test_fork_after_a_compile(void **state) {
  (void)state;
  if (!have_nvrtc()) skip();
  char *forked = child_output(compile_then_fork), *warm = run(other);
  assert_memory_equal(forked, "opened ", 7);
  assert_contains(forked, " 0 ");
  assert_memory_equal(warm, "unopened ", 9); /* the child has put it into the cache */
  assert_string_equal(code_of(warm), code_of(forked));
  free(forked), free(warm);
}

static void test_errors_are_not_kept(void **state) {
  (void)state;
  if (!have_nvrtc()) skip();
  for (int i = 0; i < 2; i++) {
    char *refused = run("#line 3 \"a.k.c\"\nsyntax error\n");
    assert_memory_equal(refused, "opened ", 7);
    assert_contains(refused, "4002");
    assert_contains(refused, "a.k.c(3): error");
    free(refused);
  }
}

/* As on a machine without NVRTC. */
static char *run_without_nvrtc(const char *source) {
  char *saved = copy_of(getenv("MASKC_NVRTC_PATH"));
  setenv("MASKC_NVRTC_PATH", "/nonexistent", 1);
  char *output = run(source);
  unsetenv("MASKC_NVRTC_PATH");
  if (saved) setenv("MASKC_NVRTC_PATH", saved, 1);
  free(saved);
  return output;
}

static void test_no_nvrtc(void **state) {
  (void)state;
  char *output = run_without_nvrtc(kernel);
  assert_contains(output, "3002 no NVRTC: MASKC_NVRTC_PATH=/nonexistent");
  free(output);
}

/* NVRTC is needed to compile, not to use what has been compiled. */
static void test_hit_when_nvrtc_is_gone(void **state) {
  (void)state;
  if (!have_nvrtc()) skip();
  char *cold = run(kernel), *hit = run_without_nvrtc(kernel), *miss = run_without_nvrtc(other);
  assert_contains(cold, " 0 ");
  assert_string_equal(code_of(hit), code_of(cold));
  assert_contains(miss, "3002 no NVRTC");
  free(cold), free(hit), free(miss);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_hit),
      T(test_what_makes_another_entry),
      T(test_fork_after_a_compile),
      T(test_errors_are_not_kept),
      T(test_no_nvrtc),
      T(test_hit_when_nvrtc_is_gone),
  };
  unsetenv("MASKC_CACHE_DISABLE");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
