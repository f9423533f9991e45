/* SPDX-License-Identifier: MIT
 * test_launch.c - prepare does what is slow, launch makes two driver calls and nothing else: on
 * several devices, in several threads, under capture, with the wrong context or stream, without
 * memory. A fake driver and a fake NVRTC; each test in a process of its own.
 *
 * The linker gives this program's __wrap_malloc and so on in place of the library's malloc.
 */
#define _GNU_SOURCE
#include "support.h"

#include <dlfcn.h>
#include <pthread.h>

#include "child.h"
#include "context.h"
#include "driver.h"
#include "op.h"

/* ---- what a launch must not call ---- */

static _Thread_local bool counting;
static _Thread_local int counted;

#define WRAP(result, name, parameters, ...) \
  result __real_##name parameters;          \
  result __wrap_##name parameters;          \
  result __wrap_##name parameters {         \
    counted += counting;                    \
    return __real_##name(__VA_ARGS__);      \
  }

WRAP(void *, malloc, (size_t n), n)
WRAP(void *, calloc, (size_t n, size_t size), n, size)
WRAP(void *, realloc, (void *p, size_t n), p, n)
WRAP(int, pthread_mutex_lock, (pthread_mutex_t * m), m)
WRAP(char *, getenv, (const char *name), name)
WRAP(char *, secure_getenv, (const char *name), name)

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p) {
  counted += counting;
  __real_free(p);
}

/* ---- the fake driver ---- */

static char *fake;

static void *fake_symbol(const char *name) {
  void *library = dlopen(fake, RTLD_NOW), *symbol = library ? dlsym(library, name) : NULL;
  assert_non_null(symbol);
  return symbol;
}

static void forget_calls(void) {
  void (*forget)(void);
  memcpy(&forget, &(void *){fake_symbol("fake_cuda_forget")}, sizeof forget);
  forget();
}

/* What was called since the last time. */
static void print_calls(FILE *out) {
  const char *(*read)(void);
  memcpy(&read, &(void *){fake_symbol("fake_cuda_calls")}, sizeof read);
  fprintf(out, "[%s]", read());
  forget_calls();
}

static void capture(int active) {
  void (*set)(int);
  memcpy(&set, &(void *){fake_symbol("fake_cuda_capture")}, sizeof set);
  set(active);
}

static const struct driver *driver(void) {
  const struct driver *cu;
  struct error err = {0};
  assert_int_equal(driver_open(&cu, &err), MKC_OK);
  return cu;
}

static CUcontext primary(int device) {
  CUdevice handle;
  CUcontext context;
  driver()->cuDeviceGet(&handle, device);
  driver()->cuDevicePrimaryCtxRetain(&context, handle);
  return context;
}

/* As cudaSetDevice does. */
static void set_device(int device) {
  driver()->cuCtxSetCurrent(primary(device));
}

/* ---- a toy op ---- */

static const mkc_tensor tensors[] = {
    {(void *)(uintptr_t)0x1000, MKC_F32, 4, {3, 5, 2, 8, 0}, {80, 16, 8, 1, 0}},
    {(void *)(uintptr_t)0x2000, MKC_F32, 4, {3, 5, 2, 8, 0}, {80, 16, 8, 1, 0}}};

static mkc_context *new_context(void) {
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  options.no_cache = 1;
  assert_int_equal(mkc_context_create(&options, &ctx), MKC_OK);
  return ctx;
}

static mkc_op *new_op(mkc_context *ctx, int device) {
  struct op_source s = {.name = "toy", .entry = "kernel_entry", .arch = "sm_90a", .dk = 8, .dv = 8};
  struct error err = {0};
  mkc_op *op;
  s.text = strdup("a kernel");
  s.plan = strdup("plan");
  s.threads = 128;
  s.blocks_a_head = 1;
  s.narrays = 2;
  s.arrays[0] = (struct op_array){"v", "BTHv", MKC_F32, 0, 0, 16, 0};
  s.arrays[1] = (struct op_array){"o", "BTHv", MKC_F32, 1, 0, 16, 0};
  assert_int_equal(op_create_from_source(ctx, &s, &cuda_backend, device, MKC_CHECK_NONE, &op, &err),
                   MKC_OK);
  return op;
}

static mkc_op *new_lone_op(int device) {
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx, device);
  mkc_context_destroy(ctx);
  return op;
}

static mkc_status launch(const mkc_op *op, void *stream) {
  return mkc_op_launch(op, tensors, 2, NULL, 0, stream);
}

static void say(FILE *out, mkc_status st) {
  fprintf(out, st ? "%d %s; " : "%d; ", (int)st, mkc_last_error());
}

static void expect(void (*body)(FILE *), const char *text) {
  char *output = child_output(body);
  assert_string_equal(output, text);
  free(output);
}

#define LAUNCHED "[cuCtxGetCurrent cuLaunchKernel ]"
#define LOADS                                                                                 \
  "cuDeviceGetCount cuDeviceGet cuDevicePrimaryCtxRetain cuCtxPushCurrent cuLibraryLoadData " \
  "cuLibraryGetKernel cuKernelGetFunction cuKernelGetParamInfo cuDeviceGetAttribute "         \
  "cuFuncSetAttribute cuFuncLoad cuFuncGetAttribute cuFuncGetAttribute cuCtxPopCurrent "

/* ---- calls ---- */

static void prepare_and_launch(FILE *out) {
  mkc_op *op = new_lone_op(0);
  set_device(0);
  print_calls(out);
  say(out, mkc_op_prepare(op));
  print_calls(out);
  say(out, mkc_op_prepare(op)); /* again */
  print_calls(out);
  for (int i = 0; i < 2; i++) {
    say(out, launch(op, NULL));
    print_calls(out);
  }
  mkc_op_destroy(op);
  print_calls(out);
}

static void test_calls(void **state) {
  (void)state;
  expect(prepare_and_launch,
         "[cuInit cuDriverGetVersion cuDeviceGet cuDevicePrimaryCtxRetain cuCtxSetCurrent ]"
         "0; [" LOADS "]0; []"
         "0; " LAUNCHED "0; " LAUNCHED "[cuLibraryUnload cuDevicePrimaryCtxRelease_v2 ]");
}

static void launch_counted(FILE *out) {
  mkc_op *op = new_lone_op(0);
  set_device(0);
  counting = true;
  mkc_op_prepare(op);
  fprintf(out, "%d ", counted > 0); /* they are counted */
  counted = 0;
  for (int i = 0; i < 100; i++) launch(op, NULL);
  counting = false;
  fprintf(out, "%d", counted);
  mkc_op_destroy(op);
}

static void test_launch_allocates_and_locks_nothing(void **state) {
  (void)state;
  expect(launch_counted, "1 0");
}

/* Of equal options: what one holder prepared is prepared for the other, and stays loaded as long as
 * either holds it. */
static void prepare_shared(FILE *out) {
  const mkc_tensor none[OP_MAX_ARRAYS] = {{0}};
  mkc_context *ctx = new_context();
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  mkc_op *op, *same;
  char bytes[32];
  o.spec_path = "simple_gla";
  o.dk = o.dv = 64;
  mkc_op_create(ctx, &o, &op);
  mkc_op_create(ctx, &o, &same);
  mkc_context_destroy(ctx);
  snprintf(bytes, sizeof bytes, "%zu", op_args_bytes(op_source_of(op)));
  setenv("FAKE_CUDA_PARAM_BYTES", bytes, 1);
  setenv("FAKE_CUDA_KERNEL", op_source_of(op)->entry, 1);
  say(out, mkc_op_prepare(op));
  forget_calls();
  say(out, mkc_op_prepare(same));
  mkc_op_destroy(op);
  print_calls(out);
  /* the arrays are what is wrong */
  fprintf(out, "%d ", (int)mkc_op_launch(same, none, mkc_op_arg_count(same), NULL, 0, NULL));
  mkc_op_destroy(same);
  print_calls(out);
}

static void test_shared(void **state) {
  (void)state;
  expect(prepare_shared, "0; 0; []1002 [cuLibraryUnload cuDevicePrimaryCtxRelease_v2 ]");
}

/* ---- graphs ---- */

static void launch_captured(FILE *out) {
  mkc_context *ctx = new_context();
  mkc_op *op = new_op(ctx, 0), *late = new_op(ctx, 0);
  set_device(0);
  mkc_op_prepare(op);
  forget_calls();
  capture(1);
  say(out, launch(op, NULL));
  print_calls(out);
  say(out, launch(late, NULL)); /* touches nothing */
  print_calls(out);
  fprintf(out, "%d; ", (int)mkc_op_prepare(late));
  capture(0);
  say(out, mkc_op_prepare(late));
  say(out, launch(late, NULL));
  mkc_op_destroy(op);
  mkc_op_destroy(late);
  mkc_context_destroy(ctx);
}

static void test_capture(void **state) {
  (void)state;
  expect(launch_captured,
         "0; " LAUNCHED "2002 toy: call mkc_op_prepare before mkc_op_launch; []3007; 0; 0; ");
}

/* ---- contexts ---- */

static void launch_elsewhere(FILE *out) {
  mkc_context *ctx = new_context();
  mkc_op *ops[2] = {new_op(ctx, 0), new_op(ctx, 1)};
  CUstream streams[2];
  for (int i = 0; i < 2; i++) {
    set_device(i);
    driver()->cuStreamCreate(&streams[i], 0);
    mkc_op_prepare(ops[1 - i]); /* of the other device: the current context stays */
    CUcontext current;
    driver()->cuCtxGetCurrent(&current);
    assert_ptr_equal(current, primary(i));
  }
  forget_calls();
  say(out, launch(ops[1], streams[1]));
  print_calls(out);
  say(out, launch(ops[0], streams[0])); /* cuda:1 is current */
  print_calls(out);
  set_device(0);
  say(out, launch(ops[0], streams[1]));
  say(out, launch(ops[0], streams[0]));
  mkc_op_destroy(ops[0]);
  mkc_op_destroy(ops[1]);
  mkc_context_destroy(ctx);
}

static void test_contexts(void **state) {
  (void)state;
  expect(launch_elsewhere,
         "0; " LAUNCHED
         "2001 the primary context of cuda:0 is not current on this thread (another is): call "
         "cudaSetDevice(0), or cuCtxSetCurrent with what cuDevicePrimaryCtxRetain gives; "
         "[cuCtxGetCurrent ]"
         "2001 the stream is none of the primary context of cuda:0: it belongs to another context "
         "or device, or was destroyed; 0; ");
}

/* A thread has its own current context and its own last error. */
static void *launch_in_thread(void *op) {
  const mkc_status without = launch(op, NULL);
  const bool told = strstr(mkc_last_error(), "(none is)") != NULL;
  set_device(0);
  mkc_status st = MKC_OK;
  for (int i = 0; i < 1000 && !st; i++) st = launch(op, NULL);
  return without == MKC_E_USAGE && told && !st ? op : NULL;
}

static void launch_in_threads(FILE *out) {
  mkc_op *op = new_lone_op(0);
  pthread_t threads[4];
  void *result;
  mkc_op_prepare(op);
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, launch_in_thread, op);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], &result);
    fprintf(out, "%d", result == op);
  }
  fprintf(out, "%s", mkc_last_error()); /* of this thread: nothing */
  mkc_op_destroy(op);
}

static void test_threads(void **state) {
  (void)state;
  expect(launch_in_threads, "1111");
}

/* ---- failures ---- */

static void run_short_of_memory(FILE *out) {
  static const char *const failing[] = {"cuDevicePrimaryCtxRetain:2", "cuLibraryLoadData:2",
                                        "cuFuncLoad:2", "cuLaunchKernel:2", "cuLaunchKernel:719"};
  mkc_op *op = new_lone_op(0);
  set_device(0);
  for (int i = 0; i < 5; i++) {
    setenv("FAKE_CUDA_FAIL", failing[i], 1);
    const mkc_status st = mkc_op_prepare(op);
    fprintf(out, "%d ", (int)(st ? st : launch(op, NULL)));
  }
  unsetenv("FAKE_CUDA_FAIL");
  say(out, launch(op, NULL)); /* memory is there again */
  mkc_op_destroy(op);
}

static void test_out_of_device_memory(void **state) {
  (void)state;
  expect(run_short_of_memory, "3006 3006 3006 3006 3007 0; ");
}

static void destroy_in_any_order(FILE *out) {
  for (int order = 0; order < 6; order++) {
    mkc_context *ctx = new_context();
    mkc_op *first = new_op(ctx, 0), *second = new_op(ctx, 1);
    mkc_op_prepare(first);
    if (order % 2) mkc_op_prepare(second); /* or never */
    forget_calls();
    if (order / 2 == 0) mkc_context_destroy(ctx);
    mkc_op_destroy(second);
    if (order / 2 == 1) mkc_context_destroy(ctx);
    mkc_op_destroy(first);
    if (order / 2 == 2) mkc_context_destroy(ctx);
    print_calls(out);
  }
}

static void test_destroyed_in_any_order(void **state) {
  (void)state;
#define ONE "cuLibraryUnload cuDevicePrimaryCtxRelease_v2 "
#define PAIR "[" ONE "][" ONE ONE "]"
  expect(destroy_in_any_order, PAIR PAIR PAIR);
}

int main(void) {
  fake = build_path("tests/libfake_cuda.so");
  char *nvrtc = build_path("tests/libfake_nvrtc.so");
  setenv("MASKC_LIBCUDA", fake, 1);
  setenv("MASKC_NVRTC_PATH", nvrtc, 1);
  setenv("FAKE_CUDA_PARAM_BYTES", "104", 1);
  unsetenv("FAKE_CUDA_FAIL");
  unsetenv("MASKC_VERBOSE");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_calls),
      cmocka_unit_test(test_launch_allocates_and_locks_nothing),
      cmocka_unit_test(test_shared),
      cmocka_unit_test(test_capture),
      cmocka_unit_test(test_contexts),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_out_of_device_memory),
      cmocka_unit_test(test_destroyed_in_any_order),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  free(nvrtc);
  free(fake);
  return failed;
}
