/* SPDX-License-Identifier: MIT
 * test_cpu_backend.c - runtime/cpu/backend.c: an op's source is compiled once, cached and launched;
 * what is missing or does not fit is an error.
 */
#define _GNU_SOURCE
#include "support.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../runtime/backend.h"
#include "../runtime/cache_entry.h"
#include "../runtime/cpu/worker.h"

/* out = 2 x, one thread an element; the arguments as source.h lays them out */
static char text[] = "#include \"tile_host.h\"\n"
                     "typedef struct array {\n"
                     "  float *data;\n"
                     "  i64 batch, token, head, heads;\n"
                     "} array;\n"
                     "typedef struct args {\n"
                     "  i64 B, T, H;\n"
                     "  array x, out;\n"
                     "} args;\n"
                     "TILE_KERNEL(twice, args, 64, 1) {\n"
                     "  const i64 i = tile_block() * 64 + tile_tid();\n"
                     "  if (i < a.T) a.out.data[i] = 2.0f * a.x.data[i];\n"
                     "}\n";

static struct op_source twice(void) {
  struct op_source s = {.text = text, .name = "twice", .entry = "twice", .threads = 64};
  s.narrays = 2;
  return s;
}

struct fixture {
  mkc_context *ctx;
  char *dir, *calls, *compiler; /* a folder, the log of the compiler's calls, the compiler */
};

/* A compiler that counts how often it is called. */
static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  char script[1024];
  f->dir = temp_dir();
  if (asprintf(&f->calls, "%s/calls", f->dir) < 0) return -1;
  if (asprintf(&f->compiler, "%s/compiler", f->dir) < 0) return -1;
  snprintf(script, sizeof script, "#!/bin/sh\necho call >>%s\nexec cc \"$@\"\n", f->calls);
  if (!write_file(f->compiler, script, strlen(script)) || chmod(f->compiler, 0755)) return -1;
  setenv("MASKC_CC", f->compiler, 1);
  options.cache_dir = f->dir;
  *state = f;
  return mkc_context_create(&options, &f->ctx);
}

static int teardown(void **state) {
  struct fixture *f = *state;
  unsetenv("MASKC_CC");
  mkc_context_destroy(f->ctx);
  remove_dir(f->dir);
  free(f->dir);
  free(f->calls);
  free(f->compiler);
  free(f);
  return 0;
}

static size_t compiler_calls(const struct fixture *f) {
  size_t len = 0;
  free(read_file(f->calls, &len));
  return len / strlen("call\n");
}

static void load_and_launch(struct fixture *f) {
  const struct op_source source = twice();
  struct error err = {0};
  struct loaded *op = NULL;
  float x[100], out[100];
  for (int i = 0; i < 100; i++) x[i] = (float)i;
  if (cpu_backend.load(f->ctx, &source, 0, MKC_CHECK_NONE, &op, &err)) fail_msg("%s", err.text);
  struct {
    long long B, T, H;
    struct {
      void *data;
      long long batch, token, head, heads;
    } x, out;
  } args = {.B = 1, .T = 100, .H = 1, .x.data = x, .out.data = out};
  assert_int_equal(sizeof args, op_args_bytes(&source));
  if (cpu_backend.launch(op, &args, 2, NULL, &err)) fail_msg("%s", err.text);
  cpu_backend.unload(op);
  for (int i = 0; i < 100; i++) assert_true(out[i] == 2.0f * (float)i);
}

static void test_compiled_once(void **state) {
  struct fixture *f = *state;
  load_and_launch(f);
  const size_t calls = compiler_calls(f);
  assert_true(calls > 0);
  load_and_launch(f);
  assert_int_equal(compiler_calls(f), calls);
}

/* A good entry whose object this machine cannot load, as another with the same home may leave. */
static void put_foreign_object(const struct fixture *f) {
  struct cache_key key;
  glob_t found;
  char pattern[1024];
  size_t len;
  snprintf(pattern, sizeof pattern, "%s/v1/[0-9a-f][0-9a-f]/*", f->dir);
  assert_int_equal(glob(pattern, 0, NULL, &found), 0);
  assert_int_equal(found.gl_pathc, 1);
  char *entry = read_file(found.gl_pathv[0], &len);
  memcpy(key.bytes, entry + 32, sizeof key.bytes); /* cache_entry.h */
  const int fd = open(found.gl_pathv[0], O_WRONLY | O_TRUNC);
  assert_int_equal(cache_entry_write(fd, &key, "no object", 9, ""), 0);
  close(fd);
  free(entry);
  globfree(&found);
}

static void test_object_that_does_not_load(void **state) {
  struct fixture *f = *state;
  load_and_launch(f);
  const size_t calls = compiler_calls(f);
  put_foreign_object(f);
  load_and_launch(f);
  assert_int_equal(compiler_calls(f), 2 * calls);
  load_and_launch(f); /* it was replaced */
  assert_int_equal(compiler_calls(f), 2 * calls);
}

static void assert_refused(struct fixture *f, const struct op_source *source, mkc_check check,
                           mkc_status status, const char *message) {
  struct error err = {0};
  struct loaded *op = NULL;
  assert_int_equal(cpu_backend.load(f->ctx, source, 0, check, &op, &err), status);
  assert_null(op);
  assert_contains(error_text(&err), message);
  error_finish(&err);
}

static void test_wrong_description(void **state) {
  struct op_source threads = twice(), arrays = twice(), entry = twice();
  threads.threads = 128;
  arrays.narrays = 3;
  snprintf(entry.entry, sizeof entry.entry, "thrice");
  assert_refused(*state, &threads, MKC_CHECK_NONE, MKC_E_INTERNAL, "has 64 threads");
  assert_refused(*state, &arrays, MKC_CHECK_NONE, MKC_E_INTERNAL, "104 bytes of arguments");
  assert_refused(*state, &entry, MKC_CHECK_NONE, MKC_E_INTERNAL, "no kernel thrice");
}

static void test_wrong_environment(void **state) {
  const struct op_source source = twice();
  setenv("MASKC_CPU_ASYNC", "sometimes", 1);
  assert_refused(*state, &source, MKC_CHECK_NONE, MKC_E_USAGE, "late, early or random:SEED");
  setenv("MASKC_CPU_ASYNC", "random:5", 1);
  load_and_launch(*state);
  unsetenv("MASKC_CPU_ASYNC");
  static const char *const wrong[] = {"0", "17", "2x", "many"};
  for (size_t i = 0; i < 4; i++) {
    setenv("MASKC_CPU_BLOCKS", wrong[i], 1);
    assert_refused(*state, &source, MKC_CHECK_NONE, MKC_E_USAGE, "it can be 1 to 16");
  }
  setenv("MASKC_CPU_BLOCKS", "2", 1);
  load_and_launch(*state);
  unsetenv("MASKC_CPU_BLOCKS");
  if (cpu_asan_loaded()) return;
  assert_refused(*state, &source, MKC_CHECK_ADDRESS, MKC_E_USAGE, "AddressSanitizer");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_compiled_once, setup, teardown),
      cmocka_unit_test_setup_teardown(test_object_that_does_not_load, setup, teardown),
      cmocka_unit_test_setup_teardown(test_wrong_description, setup, teardown),
      cmocka_unit_test_setup_teardown(test_wrong_environment, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
