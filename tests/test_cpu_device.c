/* SPDX-License-Identifier: MIT
 * test_cpu_device.c - runtime/cpu: right kernels give right results under every schedule; wrong
 * ones are caught, and the message says where.
 *
 * The kernels are in kernels/cpu_device.k.c and are compiled once. Started with --worker NAME or
 * --run NAME this program is its own worker, for the checks that end a process.
 */
#define _GNU_SOURCE
#include "support.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gen/gen.h"
#include "../runtime/cpu/compile.h"
#include "../runtime/cpu/module.h"
#include "../runtime/cpu/worker.h"

struct io {
  const float *in;
  float *out;
  long long n;
};

enum { SMEM = 1024 };

static const struct launch_options late = {.async = ASYNC_LATE}, early = {.async = ASYNC_EARLY};

/* ---- compiling ---- */

static struct module *compile_text(const char *text, const char *name, mkc_check check,
                                   struct error *err) {
  struct buf source = {0}, object = {0};
  buf_printf(&source, "#include \"tile_host.h\"\n#line 1 \"%s\"\n%s", name, text);
  const struct host_job job = {buf_text(&source), embedded_find("templates/tile_host.h")->data,
                               name, check};
  struct module *module = NULL;
  if (!host_compile(&job, &object, err))
    module_load(object.data, object.len, check != MKC_CHECK_NONE, &module, err);
  buf_finish(&source);
  buf_finish(&object);
  return module;
}

static struct module *compile_file(const char *file, mkc_check check) {
  struct error err = {0};
  char *path = source_path(file);
  char *text = read_file(path, NULL);
  struct module *module = text ? compile_text(text, file, check, &err) : NULL;
  if (!module) fprintf(stderr, "%s: %s\n", path, text ? error_text(&err) : "unreadable");
  error_finish(&err);
  free(text);
  free(path);
  return module;
}

static int setup(void **state) {
  *state = compile_file("tests/kernels/cpu_device.k.c", MKC_CHECK_NONE);
  return *state ? 0 : -1;
}

static int teardown(void **state) {
  module_destroy(*state);
  return 0;
}

/* ---- running ---- */

static const struct tile_kernel *kernel(void **state, const char *name) {
  const struct tile_kernel *k = module_kernel(*state, name);
  assert_non_null(k);
  assert_int_equal(k->args_bytes, sizeof(struct io));
  return k;
}

static void run_with(void **state, const char *name, const struct io *io, long long blocks,
                     const struct launch_options *options) {
  struct error err = {0};
  launch_run(kernel(state, name), io, blocks, SMEM, options, &err);
  if (err.status) fail_msg("%s: %s", name, error_text(&err));
}

static void run(void **state, const char *name, const struct io *io, long long blocks) {
  run_with(state, name, io, blocks, &late);
}

/* The report of a kernel that must be caught; the caller frees. */
static char *caught(void **state, const char *name) {
  static const float in[256];
  float out[256];
  const struct io io = {in, out, 0};
  struct error err = {0};
  assert_int_equal(launch_run(kernel(state, name), &io, 1, SMEM, &late, &err), MKC_E_CHECK);
  char *text = strdup(error_text(&err));
  error_finish(&err);
  return text;
}

static void assert_caught(void **state, const char *name, const char *part) {
  char *report = caught(state, name);
  assert_contains(report, part);
  free(report);
}

/* ---- the vocabulary ---- */

/* The function or macro with parameters that a line of tile_cuda.h defines, as "name(". */
static bool defined_name(const char *line, char ret[64]) {
  const char *paren = strchr(line, '('), *name = paren;
  if (!paren) return false;
  while (name > line && name[-1] != ' ' && name[-1] != '*') name--;
  snprintf(ret, 64, "%.*s(", (int)(paren - name), name);
  if (!strncmp(line, "#define ", 8)) return name == line + 8;
  return !strncmp(line, "TILE_FN ", 8);
}

/* All of tests/conformance/NAME.k.c; the caller frees. */
static char *conformance_kernels(void) {
  static const char *const names[] = {"pointwise", "threads", "memory", "matrix"};
  struct buf all = {0};
  for (size_t i = 0; i < 4; i++) {
    char file[64];
    snprintf(file, sizeof file, "tests/conformance/%s.k.c", names[i]);
    char *path = source_path(file), *text = read_file(path, NULL);
    assert_non_null(text);
    buf_puts(&all, text);
    free(text);
    free(path);
  }
  return buf_steal(&all);
}

/* Every operation of the GPU's vocabulary is in the host's and has a conformance kernel. */
static void test_vocabulary(void **state) {
  (void)state;
  char name[64], *kernels = conformance_kernels();
  const char *host = embedded_find("templates/tile_host.h")->data;
  int found = 0;
  for (const char *line = embedded_find("templates/tile_cuda.h")->data; line;) {
    const bool operation = defined_name(line, name) && strcmp(name, "tile_smem_address(") != 0 &&
                           strcmp(name, "tile_split3(") != 0;
    if (operation) {
      assert_contains(host, name);
      assert_contains(kernels, name);
      found++;
    }
    line = strchr(line, '\n');
    if (line) line++;
  }
  assert_true(found > 40);
  free(kernels);
}

/* ---- right kernels ---- */

static void test_barriers(void **state) {
  float in[256], out[256];
  for (int i = 0; i < 256; i++) in[i] = (float)i;
  const struct io io = {in, out, 0};
  run(state, "reverse", &io, 2);
  for (int i = 0; i < 256; i++) assert_true(out[i] == in[i / 128 * 128 + 127 - i % 128]);
  run(state, "reverse_halves", &io, 1);
  for (int i = 0; i < 128; i++) assert_true(out[i] == in[i / 64 * 64 + 63 - i % 64]);
}

static void test_shuffles(void **state) {
  float in[64], out[192];
  for (int i = 0; i < 64; i++) in[i] = (float)(i * i % 17);
  run(state, "warp_sums", &(struct io){in, out, 0}, 1);
  for (int i = 0; i < 64; i++) {
    float sum = 0, all = 0;
    for (int j = i / 32 * 32; j <= i; j++) sum += in[j];
    for (int j = i / 32 * 32; j < i / 32 * 32 + 32; j++) all += in[j];
    assert_true(out[i] == sum);
    assert_true(out[64 + i] == all);
    assert_true(out[128 + i] == all);
  }
}

static void test_matmul(void **state) {
  float in[512], out[256];
  for (int i = 0; i < 512; i++) in[i] = (float)(i * 7 % 31 - 15);
  run(state, "matmul", &(struct io){in, out, 0}, 1);
  for (int i = 0; i < 256; i++) {
    float sum = 0;
    for (int k = 0; k < 16; k++) sum += in[i / 16 * 16 + k] * in[256 + k * 16 + i % 16];
    assert_true(out[i] == sum);
  }
}

static void test_copies(void **state) {
  _Alignas(16) float in[128], out[128];
  for (int i = 0; i < 128; i++) in[i] = (float)(i + 1);
  const struct launch_options shuffled = {.async = ASYNC_RANDOM, .seed = 7};
  const struct launch_options *const all[] = {&late, &early, &shuffled};
  const int sizes[] = {128, 127, 65, 3, 0};
  for (size_t o = 0; o < 3; o++) {
    for (size_t s = 0; s < 5; s++) {
      memset(out, 0xFF, sizeof out);
      run_with(state, "copy_async", &(struct io){in, out, sizes[s]}, 1, all[o]);
      for (int i = 0; i < 128; i++) assert_true(out[i] == (i < sizes[s] ? in[i] : 0.0f));
    }
  }
}

/* ---- fp16, all of it ---- */

enum { HALVES = 65536, INFINITE = 0x7c00 };

/* From the format's definition; the one after the largest is as if the exponents went on. */
static float f16_value(int half) {
  const int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
  const double x = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
  return (float)(half & 0x8000 ? -x : x);
}

static unsigned float_bits(float x) {
  unsigned bits;
  memcpy(&bits, &x, 4);
  return bits;
}

static void test_f16_widen(void **state) {
  static float out[HALVES];
  run(state, "f16_widen", &(struct io){NULL, out, 0}, HALVES / 128);
  for (int i = 0; i < HALVES; i++) {
    const int magnitude = i & 0x7fff;
    unsigned expected = float_bits(f16_value(i));
    if (magnitude == INFINITE) expected = float_bits(i & 0x8000 ? -INFINITY : INFINITY);
    if (magnitude > INFINITE) expected = 0x7fffffff;
    if (float_bits(out[i]) != expected) fail_msg("%04x became %a", i, (double)out[i]);
  }
}

/* Around every fp16 x: x itself, the middle between it and the next, and the floats beside that. */
static void test_f16_round(void **state) {
  static float in[4 * INFINITE], out[4 * INFINITE];
  for (int i = 0; i < INFINITE; i++) {
    const float middle = (f16_value(i) + f16_value(i + 1)) / 2;
    in[4 * i] = f16_value(i);
    in[4 * i + 1] = nextafterf(middle, 0);
    in[4 * i + 2] = middle;
    in[4 * i + 3] = nextafterf(middle, INFINITY);
  }
  run(state, "f16_round", &(struct io){in, out, 0}, 4 * INFINITE / 128);
  for (int i = 0; i < 4 * INFINITE; i++) {
    const int x = i / 4, even = x + x % 2, nearest[4] = {x, x, even, x + 1};
    const unsigned expected = (unsigned)nearest[i % 4];
    if (float_bits(out[i]) != (expected | (expected | 0x8000u) << 16))
      fail_msg("%a and its negative became %08x", (double)in[i], float_bits(out[i]));
  }
}

static void test_f16_round_special(void **state) {
  static const float given[] = {0, 0x1p-149f, 0x1p-126f, 65536, 0x1.fffffep127f, INFINITY, NAN};
  static const unsigned expected[] = {0, 0, 0, INFINITE, INFINITE, INFINITE, 0x7fff};
  float in[128] = {0}, out[128];
  memcpy(in, given, sizeof given);
  run(state, "f16_round", &(struct io){in, out, 0}, 1);
  for (int i = 0; i < 7; i++) {
    const unsigned negative = i < 6 ? expected[i] | 0x8000u : expected[i];
    assert_int_equal(float_bits(out[i]), expected[i] | negative << 16);
  }
}

/* A whole kernel: the same bits from every schedule, and close to the recurrence in double. */

enum { GLA_T = 150, GLA_HEADS = 2, GLA_D = 64, GLA_N = GLA_HEADS * GLA_T * GLA_D };

struct gla {
  unsigned short *q, *k, *v;
  float *g;
  unsigned short *o;
  float *state;
  int T;
  float scale;
};

static float widen(unsigned short x) {
  const unsigned bits = (unsigned)x << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/* about uniform in [-1, 1], with few enough bits to be a bf16 */
static unsigned short noise(unsigned *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  const float x = (float)(int)(*seed >> 25) / 64.0f - 1.0f;
  unsigned bits;
  memcpy(&bits, &x, 4);
  return (unsigned short)(bits >> 16);
}

static struct gla gla_create(void) {
  struct gla x = {.T = GLA_T, .scale = 0.125f};
  unsigned seed = 1;
  unsigned short **const arrays[] = {&x.q, &x.k, &x.v, &x.o};
  for (int i = 0; i < 4; i++) {
    *arrays[i] = aligned_alloc(16, GLA_N * sizeof(short));
    for (int j = 0; j < GLA_N; j++) (*arrays[i])[j] = noise(&seed);
  }
  x.g = malloc(GLA_HEADS * GLA_T * sizeof(float));
  for (int i = 0; i < GLA_HEADS * GLA_T; i++) x.g[i] = widen(noise(&seed)) * 0.2f - 0.2f;
  x.state = malloc(GLA_HEADS * GLA_D * GLA_D * sizeof(float));
  return x;
}

static void gla_destroy(struct gla *x) {
  free(x->q);
  free(x->k);
  free(x->v);
  free(x->o);
  free(x->g);
  free(x->state);
}

/* ret: (GLA_HEADS, T, D) */
static void gla_reference(const struct gla *x, double *ret) {
  static double S[GLA_D][GLA_D];
  for (int t = 0; t < GLA_HEADS * GLA_T; t++) {
    if (t % GLA_T == 0) memset(S, 0, sizeof S);
    const size_t row = (size_t)t * GLA_D;
    for (int j = 0; j < GLA_D; j++) {
      double o = 0;
      for (int i = 0; i < GLA_D; i++) {
        S[i][j] =
            exp((double)x->g[t]) * S[i][j] + (double)widen(x->k[row + i]) * widen(x->v[row + j]);
        o += widen(x->q[row + i]) * S[i][j];
      }
      ret[row + j] = o * x->scale;
    }
  }
}

static void test_whole_kernel(void **state) {
  (void)state;
  static double actual[GLA_N], expected[GLA_N];
  static unsigned short first[GLA_N];
  struct module *module = compile_file("tests/kernels/gla_fwd.k.c", MKC_CHECK_NONE);
  assert_non_null(module);
  struct gla x = gla_create();
  gla_reference(&x, expected);
  const struct launch_options all[] = {
      late, early, {.async = ASYNC_RANDOM, .seed = 1}, {.async = ASYNC_RANDOM, .seed = 2}};
  for (size_t i = 0; i < 4; i++) {
    struct error err = {0};
    memset(x.o, 0xFF, GLA_N * sizeof(short));
    launch_run(module_kernel(module, "gla_fwd"), &x, GLA_HEADS, 57600, &all[i], &err);
    if (err.status) fail_msg("%s", error_text(&err));
    if (!i) memcpy(first, x.o, sizeof first);
    assert_memory_equal(x.o, first, sizeof first);
  }
  for (int i = 0; i < GLA_N; i++) actual[i] = widen(x.o[i]);
  assert_arrays_close(actual, expected, GLA_N, 5e-3);
  gla_destroy(&x);
  module_destroy(module);
}

struct launcher {
  const struct tile_kernel *kernel;
  int wrong;
};

static void *launch_often(void *p) {
  struct launcher *l = p;
  float in[256], out[256];
  for (int i = 0; i < 256; i++) in[i] = (float)(i * (l->kernel != NULL) + (int)((size_t)p & 1023));
  const struct io io = {in, out, 0};
  for (int n = 0; n < 200; n++) {
    struct error err = {0};
    memset(out, 0, sizeof out);
    if (launch_run(l->kernel, &io, 2, SMEM, &late, &err)) l->wrong++;
    for (int i = 0; i < 256; i++) l->wrong += out[i] != in[i / 128 * 128 + 127 - i % 128];
    error_finish(&err);
  }
  return NULL;
}

static void test_concurrent_launches(void **state) {
  struct launcher l[2] = {{kernel(state, "reverse"), 0}, {kernel(state, "reverse"), 0}};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, launch_often, &l[i]), 0);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  assert_int_equal(l[0].wrong + l[1].wrong, 0);
}

/* ---- wrong kernels ---- */

/* A copy that nobody waited for is NaN when it lands late; landing early hides the mistake. */
static void test_missing_wait(void **state) {
  _Alignas(16) float in[128];
  float out[32];
  for (int i = 0; i < 128; i++) in[i] = (float)i;
  const struct io io = {in, out, 0};
  run_with(state, "copy_unwaited", &io, 1, &late);
  for (int i = 0; i < 32; i++) assert_true(isnan(out[i]));
  run_with(state, "copy_unwaited", &io, 1, &early);
  for (int i = 0; i < 32; i++) assert_true(out[i] == in[4 * i]);
  assert_caught(state, "copy_forgotten", "forgotten.k.c:100: cp_async_16: the thread ends");
}

static void test_deadlock(void **state) {
  assert_caught(state, "deadlock",
                "deadlock: no thread of block 0 can go on\n"
                "  threads 0 to 31 wait in barrier_sync at deadlock.k.c:201\n"
                "  threads 32 to 63 wait in barrier_named_sync at deadlock.k.c:200\n"
                "  threads 64 to 95 wait in barrier_sync at deadlock.k.c:201\n"
                "  threads 96 to 127 have ended");
  assert_caught(state, "half_warp",
                "threads 0 to 15 wait in warp_sync at half.k.c:400\n"
                "  threads 16 to 31 have ended");
}

static void test_divergence(void **state) {
  assert_caught(state, "divergence",
                "divergence.k.c:302: warp_sync: warp 0 diverges: thread 7 is here, "
                "thread 0 waits in warp_shuffle_xor_f32 at divergence.k.c:300");
  assert_caught(state, "divergence_one_line", "one_line.k.c:350: warp_sync: warp 0 diverges");
}

static void test_shared_memory(void **state) {
  assert_caught(state, "smem_overlap",
                "overlap.k.c:500: TILE_SMEM: shared array y, bytes 256 to 512, overlaps x, bytes 0 "
                "to 260");
  assert_caught(state, "smem_too_much",
                "too_much.k.c:600: TILE_SMEM_BEGIN: the kernel wants 4096 bytes of shared memory, "
                "the launch gives 1024");
  if (cpu_asan_loaded()) return; /* there the red zones are the sanitizer's */
  assert_caught(state, "smem_overrun", "a write went past an end of shared array x");
}

static void test_addresses(void **state) {
  assert_caught(state, "misaligned", "misaligned.k.c:700: st_f32x2: ");
  assert_caught(state, "ldmatrix_global",
                "ldmatrix.k.c:800: ldmatrix_x4: lane 0's row lies in no shared array");
}

/* A failure leaves nothing behind: the same thread launches again. */
static void test_launch_after_failure(void **state) {
  for (int i = 0; i < 50; i++) assert_caught(state, "deadlock", "deadlock");
  test_barriers(state);
}

/* ---- the compiler ---- */

static void test_no_compiler(void **state) {
  (void)state;
  struct error err = {0};
  setenv("MASKC_CC", "/nonexistent", 1);
  assert_null(compile_text("", "nothing", MKC_CHECK_NONE, &err));
  unsetenv("MASKC_CC");
  assert_int_equal(err.status, MKC_E_NO_COMPILER);
  assert_contains(error_text(&err), "MASKC_CC=/nonexistent: no such program");
  const char *old = getenv("PATH");
  char *path = strdup(old ? old : "");
  setenv("PATH", "/nonexistent", 1);
  assert_null(compile_text("", "nothing", MKC_CHECK_NONE, &err));
  setenv("PATH", path, 1);
  free(path);
  assert_int_equal(err.status, MKC_E_NO_COMPILER);
  assert_contains(error_text(&err), "apt-get install gcc");
  error_finish(&err);
}

static void test_compile_error(void **state) {
  (void)state;
  struct error err = {0};
  assert_null(compile_text("\nint x = nowhere;\n", "bad.k.c", MKC_CHECK_NONE, &err));
  assert_int_equal(err.status, MKC_E_COMPILE);
  assert_contains(error_text(&err), "bad.k.c:2:");
  assert_contains(error_text(&err), "nowhere");
  error_finish(&err);
}

/* ---- AddressSanitizer ---- */

/* Runs kernel `name`, checked, on arrays from the heap; what is wrong ends the process. */
static int run_checked(const char *name) {
  struct module *module = compile_file("tests/kernels/cpu_device.k.c", MKC_CHECK_ADDRESS);
  if (!module) return 3;
  const size_t n = 4;
  float *in = aligned_alloc(16, n * sizeof *in), *out = malloc(128 * sizeof *out);
  for (size_t i = 0; i < n; i++) in[i] = (float)i;
  const struct io io = {in, out, strstr(name, "shared") ? 64 : (long long)n};
  struct error err = {0};
  launch_run(module_kernel(module, name), &io, 1, SMEM, &late, &err);
  fprintf(stderr, "%s: status %d %s\n", name, err.status, error_text(&err));
  const int status = err.status != 0;
  error_finish(&err);
  free(in);
  free(out);
  module_destroy(module);
  return status;
}

/* Starts this program as a worker with the sanitizer loaded. */
static int run_worker(const char *name) {
  char self[] = "self", option[] = "--run", kernel_name[64];
  snprintf(kernel_name, sizeof kernel_name, "%s", name);
  char *argv[] = {self, option, kernel_name, NULL};
  struct error err = {0};
  int exit_status = 3;
  if (cpu_worker_run(argv, MKC_CHECK_ADDRESS, &exit_status, &err))
    fprintf(stderr, "%s\n", error_text(&err));
  error_finish(&err);
  return exit_status;
}

static void checked(const char *name, int expected_status, const char *expected_text) {
  const char *const argv[] = {"/proc/self/exe", "--worker", name, NULL};
  struct command_result r;
  command_run(argv, NULL, &r);
  assert_contains(r.err, expected_text);
  assert_int_equal(r.status, expected_status);
  command_result_finish(&r);
}

static void test_address_check(void **state) {
  (void)state;
  char path[8192];
  struct error err = {0};
  if (!cpu_asan_loaded() && cpu_asan_preload(path, sizeof path, &err)) {
    print_message("skipped: %s\n", error_text(&err));
    error_finish(&err);
    skip();
  }
  checked("copy_async", 0, "copy_async: status 0");
  checked("read_past", 4, "read_past.k.c:900");
  checked("copy_past", 4, "copy_past.k.c:1000");
  checked("shared_past", 4, "shared_past.k.c:1200");
  checked("register_past", 4, "register_past.k.c:1100");
  checked("deadlock", 1, "deadlock.k.c:201");
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "--worker")) return run_worker(argv[2]);
  if (argc == 3 && !strcmp(argv[1], "--run")) return run_checked(argv[2]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_vocabulary),    cmocka_unit_test(test_barriers),
      cmocka_unit_test(test_shuffles),      cmocka_unit_test(test_matmul),
      cmocka_unit_test(test_copies),        cmocka_unit_test(test_f16_widen),
      cmocka_unit_test(test_f16_round),     cmocka_unit_test(test_f16_round_special),
      cmocka_unit_test(test_whole_kernel),  cmocka_unit_test(test_concurrent_launches),
      cmocka_unit_test(test_missing_wait),  cmocka_unit_test(test_deadlock),
      cmocka_unit_test(test_divergence),    cmocka_unit_test(test_shared_memory),
      cmocka_unit_test(test_addresses),     cmocka_unit_test(test_launch_after_failure),
      cmocka_unit_test(test_no_compiler),   cmocka_unit_test(test_compile_error),
      cmocka_unit_test(test_address_check),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
