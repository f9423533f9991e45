/* SPDX-License-Identifier: MIT
 * test_processes.c - ops of several processes: many that start cold at once compile once, and a
 * forked child can use what its parent prepared on the CPU device, and is told so where it cannot.
 *
 * CUDA and NVRTC are fakes that count; the CPU device and its compiler are real.
 */
#define _GNU_SOURCE
#include "support.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include "child.h"
#include "op.h"

enum { TOKENS = 100, PROCESSES = 8 };

/* out = factor x, for both devices' compilers (the fake NVRTC takes anything) */
static const char kernel[] = "#include \"tile_host.h\"\n"
                             "typedef struct array {\n"
                             "  float *data;\n"
                             "  i64 batch, token, head, heads;\n"
                             "} array;\n"
                             "typedef struct args {\n"
                             "  i64 B, T, H;\n"
                             "  array x, out;\n"
                             "} args;\n"
                             "TILE_KERNEL(kernel_entry, args, 64, 1) {\n"
                             "  const i64 i = tile_block() * 64 + tile_tid();\n"
                             "  if (i < a.T) a.out.data[i] = %d * a.x.data[i];\n"
                             "}\n";

static struct op_source make_source(int factor) {
  struct op_source s = {.name = "times", .entry = "kernel_entry", .arch = "sm_90a"};
  if (asprintf(&s.text, kernel, factor) < 0) s.text = NULL;
  s.threads = 64;
  s.blocks_a_head = 2;
  s.narrays = 2;
  s.arrays[0] = (struct op_array){.name = "x", .axes = "BTH", .align = 4};
  s.arrays[1] = (struct op_array){.name = "out", .axes = "BTH", .output = 1, .align = 4};
  return s;
}

static struct {
  char *dir, *compiles; /* a folder: the cache, and a file with a byte a compile */
  char *cuda, *nvrtc;   /* the fakes */
  mkc_context *ctx;
} the;

static mkc_context *new_context(void) {
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  options.cache_dir = the.dir;
  assert_int_equal(mkc_context_create(&options, &ctx), MKC_OK);
  return ctx;
}

static mkc_op *new_op(mkc_context *ctx, const struct backend *backend, int factor) {
  struct op_source source = make_source(factor);
  struct error err = {0};
  mkc_op *op;
  op_create_from_source(ctx, &source, backend, 0, MKC_CHECK_NONE, &op, &err);
  return op;
}

static mkc_status launch(const mkc_op *op, float *x, float *out) {
  const mkc_tensor arrays[] = {{x, MKC_F32, 3, {1, TOKENS, 1}, {TOKENS, 1, 1}},
                               {out, MKC_F32, 3, {1, TOKENS, 1}, {TOKENS, 1, 1}}};
  return mkc_op_launch(op, arrays, 2, NULL, 0, NULL);
}

static bool computes(const mkc_op *op, int factor) {
  float x[TOKENS], out[TOKENS];
  for (int i = 0; i < TOKENS; i++) x[i] = (float)i;
  if (launch(op, x, out)) return false;
  for (int i = 0; i < TOKENS; i++)
    if (out[i] != (float)(factor * i)) return false;
  return true;
}

static size_t compiles(void) {
  size_t n = 0;
  free(read_file(the.compiles, &n));
  return n;
}

/* A C compiler that counts and takes its time. */
static bool write_compiler(const char *path) {
  char script[9000];
  snprintf(script, sizeof script, "#!/bin/sh\nprintf x >>'%s'\nexec cc \"$@\"\n", the.compiles);
  return write_file(path, script, strlen(script)) && chmod(path, 0755) == 0;
}

static int setup(void **state) {
  char compiler[4200];
  (void)state;
  the.dir = temp_dir();
  if (asprintf(&the.compiles, "%s/compiles", the.dir) < 0) return -1;
  snprintf(compiler, sizeof compiler, "%s/compiler", the.dir);
  if (!write_compiler(compiler)) return -1;
  setenv("MASKC_CC", compiler, 1);
  setenv("MASKC_LIBCUDA", the.cuda, 1);
  setenv("MASKC_NVRTC_PATH", the.nvrtc, 1);
  setenv("FAKE_NVRTC_COMPILES", the.compiles, 1);
  setenv("FAKE_NVRTC_MS", "200", 1);
  setenv("FAKE_CUDA_PARAM_BYTES", "104", 1);
  the.ctx = new_context();
  return 0;
}

static int teardown(void **state) {
  (void)state;
  mkc_context_destroy(the.ctx);
  remove_dir(the.dir);
  free(the.dir);
  free(the.compiles);
  return 0;
}

/* ---- a cold key ---- */

/* Each process has a context of its own, as a rank of a job has. Exit status 0: it worked. */
static int prepare_and_run(const struct backend *backend) {
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx, backend, 3);
  bool ok = mkc_op_prepare(op) == MKC_OK;
  if (ok && backend == &cpu_backend) ok = computes(op, 3);
  if (!ok) fprintf(stderr, "%s\n", mkc_last_error());
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
  return !ok;
}

static void race(const struct backend *backend) {
  pid_t pids[PROCESSES];
  for (int i = 0; i < PROCESSES; i++) {
    pids[i] = fork();
    assert_true(pids[i] >= 0);
    if (pids[i] == 0) _exit(prepare_and_run(backend));
  }
  for (int i = 0; i < PROCESSES; i++) {
    int status;
    assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
    assert_int_equal(status, 0);
  }
}

static void test_race_on_cuda(void **state) {
  (void)state;
  race(&cuda_backend);
  assert_int_equal(compiles(), 1);
}

/* One compile calls the compiler twice: to an object, to a shared object. */
static void test_race_on_cpu(void **state) {
  (void)state;
  race(&cpu_backend);
  assert_int_equal(compiles(), 2);
}

/* Without a disk to share, each does its own. */
static void test_race_without_a_cache(void **state) {
  (void)state;
  setenv("MASKC_CACHE_DISABLE", "1", 1);
  race(&cuda_backend);
  unsetenv("MASKC_CACHE_DISABLE");
  assert_int_equal(compiles(), PROCESSES);
}

/* ---- fork after use ---- */

static mkc_op *parents; /* prepared before the fork */

static void use_cpu_in_child(FILE *out) {
  mkc_op *own = new_op(the.ctx, &cpu_backend, 5); /* cold, with the parent's context */
  const mkc_status st = mkc_op_prepare(own);
  fprintf(out, "%d %d %d", computes(parents, 3), (int)st, computes(own, 5));
  mkc_op_destroy(own);
  mkc_op_destroy(parents);
  mkc_context_destroy(the.ctx);
}

static void test_fork_on_cpu(void **state) {
  (void)state;
  parents = new_op(the.ctx, &cpu_backend, 3);
  assert_int_equal(mkc_op_prepare(parents), MKC_OK);
  assert_true(computes(parents, 3));
  char *text = child_output(use_cpu_in_child);
  assert_string_equal(text, "1 0 1");
  assert_true(computes(parents, 3)); /* what the child destroyed was its copy */
  free(text);
  mkc_op_destroy(parents);
}

/* The calls that the fake driver saw; a child's copy goes on from its parent's. */
static size_t driver_calls(void) {
  typedef const char *reader(void);
  void *library = dlopen(the.cuda, RTLD_NOW);
  void *symbol = library ? dlsym(library, "fake_cuda_calls") : NULL;
  reader *read = NULL;
  memcpy(&read, &symbol, sizeof read);
  assert_non_null(read);
  return strlen(read());
}

static void use_cuda_in_child(FILE *out) {
  float x[TOKENS] = {0}, result[TOKENS];
  const size_t before = driver_calls();
  mkc_status st = launch(parents, x, result);
  fprintf(out, "%d %s|", (int)st, mkc_last_error());
  mkc_op *own = new_op(the.ctx, &cuda_backend, 5);
  st = mkc_op_prepare(own);
  fprintf(out, "%d %s|", (int)st, mkc_last_error());
  mkc_op_destroy(own);
  mkc_op_destroy(parents);
  fprintf(out, "%d", driver_calls() != before);
}

/* In a process of its own, whose child this forks: the driver is opened once a process. */
static void fork_on_cuda(FILE *out) {
  parents = new_op(the.ctx, &cuda_backend, 3);
  fprintf(out, "%d|", (int)mkc_op_prepare(parents));
  char *text = child_output(use_cuda_in_child);
  fprintf(out, "%s|", text);
  free(text);
  float x[TOKENS] = {0}, result[TOKENS];
  fprintf(out, "%d", (int)launch(parents, x, result)); /* 2001: no context is current, as before */
  mkc_op_destroy(parents);
}

static void test_fork_on_cuda(void **state) {
  (void)state;
  static const char refusal[] =
      "3003 CUDA was started before fork(), and a forked child cannot use it: start the child "
      "afresh (exec, or multiprocessing's \"spawn\")";
  char expected[1024];
  snprintf(expected, sizeof expected, "0|%s|%s|0|2001", refusal, refusal);
  char *text = child_output(fork_on_cuda);
  assert_string_equal(text, expected);
  free(text);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  the.cuda = build_path("tests/libfake_cuda.so");
  the.nvrtc = build_path("tests/libfake_nvrtc.so");
  unsetenv("MASKC_CACHE_DISABLE");
  const struct CMUnitTest tests[] = {
      T(test_race_on_cuda), T(test_race_on_cpu),  T(test_race_without_a_cache),
      T(test_fork_on_cpu),  T(test_fork_on_cuda),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  free(the.cuda);
  free(the.nvrtc);
  return failed;
}
