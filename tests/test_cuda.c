/* SPDX-License-Identifier: MIT
 * The CUDA backend against fake_libcuda.c: which calls it makes, in which order, with what, and
 * what it undoes when one of them fails. NVRTC compiles for real; skipped where there is none.
 */
#define _GNU_SOURCE
#include "support.h"

#include <dlfcn.h>

#include "child.h"
#include "context.h"
#include "driver.h"
#include "op.h"

static char *fake; /* the fake library's path */

static const char kernel[] = "struct args { long long slots[13]; };\n"
                             "extern \"C\" __global__ void kernel_entry(struct args a) {\n"
                             "  *(float *)a.slots[3] = 1.0f;\n"
                             "}\n";

static struct op_source make_source(void) {
  struct op_source s = {.name = "toy", .entry = "kernel_entry", .arch = "sm_90a", .dk = 8, .dv = 8};
  s.text = strdup(kernel);
  s.plan = strdup("plan");
  s.threads = 128;
  s.smem_bytes = 100000;
  s.blocks_a_head = 2;
  s.narrays = 2;
  s.arrays[0] = (struct op_array){"v", "BTHv", MKC_F32, 0, 0, 16, 0};
  s.arrays[1] = (struct op_array){"o", "BTHv", MKC_F32, 1, 0, 16, 0};
  return s;
}

static const mkc_tensor tensors[] = {
    {(void *)(uintptr_t)0x1000, MKC_F32, 4, {3, 5, 2, 8, 0}, {80, 16, 8, 1, 0}},
    {(void *)(uintptr_t)0x2000, MKC_F32, 4, {3, 5, 2, 8, 0}, {80, 16, 8, 1, 0}}};

/* What the fake library saw. */
static const char *seen(const char *function) {
  typedef const char *reader(void);
  void *library = dlopen(fake, RTLD_NOW), *symbol = library ? dlsym(library, function) : NULL;
  reader *read = NULL;
  memcpy(&read, &symbol, sizeof read);
  return read ? read() : "";
}

static mkc_op *new_op(int device) {
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  struct op_source source = make_source();
  struct error err = {0};
  mkc_context *ctx;
  mkc_op *op;
  options.no_cache = 1;
  mkc_context_create(&options, &ctx);
  op_create_from_source(ctx, &source, &cuda_backend, device, MKC_CHECK_NONE, &op, &err);
  mkc_context_destroy(ctx);
  return op;
}

/* Prepares, and says how it went and which calls were made until after the destruction. */
static void prepare(FILE *out) {
  mkc_op *op = new_op(1);
  const mkc_status st = mkc_op_prepare(op);
  fprintf(out, "%d %s|", (int)st, mkc_last_error());
  mkc_op_destroy(op);
  fprintf(out, "%s", seen("fake_cuda_calls"));
}

static void launch(FILE *out) {
  const struct driver *cu;
  mkc_op *op = new_op(1);
  mkc_op_prepare(op);
  const mkc_status st = mkc_op_launch(op, tensors, 2, NULL, 0, NULL);
  fprintf(out, "%d %s|", (int)st, mkc_last_error());
  driver_open(&cu, &(struct error){0});
  CUcontext primary;
  cu->cuDevicePrimaryCtxRetain(&primary, 41);
  cu->cuCtxSetCurrent(primary);
  fprintf(out, "%d|", (int)mkc_op_launch(op, tensors, 2, NULL, 0, (void *)(uintptr_t)0x77));
  fprintf(out, "%s|", seen("fake_cuda_launch_shape"));
  const void *args = seen("fake_cuda_launch_args");
  int64_t slots[13];
  memcpy(slots, args, sizeof slots);
  for (int i = 0; i < 13; i++) fprintf(out, "%lld ", (long long)slots[i]);
  mkc_op_destroy(op);
}

static void missing_device(FILE *out) {
  mkc_op *op = new_op(5);
  const mkc_status st = mkc_op_prepare(op);
  fprintf(out, "%d %s", (int)st, mkc_last_error());
  mkc_op_destroy(op);
}

/* Without an architecture among the options, create has to ask the GPU. */
static void no_gpu(FILE *out) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  mkc_context *ctx;
  mkc_op *op;
  mkc_context_create(NULL, &ctx);
  o.spec_text = "return 1";
  o.dk = o.dv = 64;
  o.device = "cuda:9";
  fprintf(out, "%d ", (int)mkc_op_create(ctx, &o, &op));
  fprintf(out, "%s", mkc_last_error());
  mkc_context_destroy(ctx);
}

static void expect(void (*body)(FILE *), const char *text) {
  char *output = child_output(body);
  assert_string_equal(output, text);
  free(output);
}

static void expect_part(void (*body)(FILE *), const char *part) {
  char *output = child_output(body);
  assert_contains(output, part);
  free(output);
}

static int setup(void **state) {
  struct error err = {0};
  struct nvrtc_location location;
  *state = nvrtc_locate(&location, &err) == MKC_OK ? fake : NULL;
  error_finish(&err);
  setenv("MASKC_LIBCUDA", fake, 1);
  setenv("FAKE_CUDA_PARAM_BYTES", "104", 1);
  unsetenv("FAKE_CUDA_FAIL");
  unsetenv("FAKE_CUDA_SMEM");
  return 0;
}

#define FOUND "cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGet "
#define LOADED                                                                      \
  FOUND                                                                             \
  "cuDevicePrimaryCtxRetain cuCtxPushCurrent cuLibraryLoadData cuLibraryGetKernel " \
  "cuKernelGetFunction cuKernelGetParamInfo cuDeviceGetAttribute cuFuncSetAttribute cuFuncLoad "
#define KEPT LOADED "cuFuncGetAttribute cuFuncGetAttribute cuCtxPopCurrent "
/* what the message says of the GPU */
#define ASKED                                                                            \
  "cuDeviceGetCount cuDeviceGet cuDeviceGetName cuDeviceTotalMem_v2 "                    \
  "cuDeviceGetAttribute cuDeviceGetAttribute cuDeviceGetAttribute cuDeviceGetAttribute " \
  "cuDeviceGetAttribute "
#define UNLOADED "cuLibraryUnload cuDevicePrimaryCtxRelease_v2 "

static void test_prepare(void **state) {
  if (!*state) skip();
  expect(prepare, "0 |" KEPT UNLOADED);
}

static void test_launch(void **state) {
  if (!*state) skip();
  expect(launch, "2001 the primary context of cuda:1 is not current on this thread (none is): call "
                 "cudaSetDevice(1), or cuCtxSetCurrent with what cuDevicePrimaryCtxRetain gives|"
                 "0|12 1 1, 128 1 1, 100000, 0x77|"
                 "3 5 2 4096 80 16 8 2 8192 80 16 8 2 ");
}

static void test_each_failure_is_undone(void **state) {
  if (!*state) skip();
  setenv("FAKE_CUDA_FAIL", "cuDevicePrimaryCtxRetain:2", 1);
  expect(prepare,
         "3006 cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY (a text of the driver)|" FOUND
         "cuDevicePrimaryCtxRetain ");
  setenv("FAKE_CUDA_FAIL", "cuLibraryLoadData:209", 1);
  expect(prepare,
         "3007 cuLibraryLoadData: CUDA_ERROR_NO_BINARY_FOR_GPU (a text of the driver): the op is "
         "made for sm_90a, and cuda:1 (Fake 1) is sm_90a|" FOUND
         "cuDevicePrimaryCtxRetain cuCtxPushCurrent cuLibraryLoadData " ASKED
         "cuCtxPopCurrent cuDevicePrimaryCtxRelease_v2 ");
  setenv("FAKE_CUDA_FAIL", "cuFuncLoad:719", 1);
  expect(prepare, "3007 cuFuncLoad: CUDA_ERROR_LAUNCH_FAILED (a text of the driver)|" LOADED
                  "cuCtxPopCurrent " UNLOADED);
}

/* CUDA 12.4's driver, and code of an NVRTC 13.0 (a fake), which it does not load. */
static void test_driver_older_than_nvrtc(void **state) {
  (void)state;
  char *nvrtc = build_path("tests/libfake_nvrtc.so");
  const char *named = getenv("MASKC_NVRTC_PATH");
  char *saved = named ? strdup(named) : NULL;
  setenv("MASKC_NVRTC_PATH", nvrtc, 1);
  setenv("FAKE_CUDA_FAIL", "cuLibraryLoadData:200", 1);
  setenv("FAKE_CUDA_VERSION", "12040", 1);
  expect_part(prepare,
              "(a text of the driver): the driver is one of CUDA 12.4, older than NVRTC 13.0, "
              "which made the code: update the NVIDIA driver, or name an NVRTC of CUDA 12 in "
              "MASKC_NVRTC_PATH");
  unsetenv("FAKE_CUDA_VERSION");
  char *text = child_output(prepare); /* a driver of 13.0: it is something else */
  assert_contains(text, "3007 cuLibraryLoadData");
  assert_null(strstr(text, "older"));
  free(text);
  unsetenv("MASKC_NVRTC_PATH");
  if (saved) setenv("MASKC_NVRTC_PATH", saved, 1);
  free(saved);
  free(nvrtc);
}

/* The driver went first, as it may at exit. */
static void test_destroy_after_driver(void **state) {
  if (!*state) skip();
  setenv("FAKE_CUDA_FAIL", "cuLibraryUnload:4", 1);
  expect(prepare, "0 |" KEPT UNLOADED);
}

static void test_wrong_parameters(void **state) {
  if (!*state) skip();
  setenv("FAKE_CUDA_PARAM_BYTES", "96", 1);
  expect_part(prepare, "4001 the kernel kernel_entry takes 96 bytes of arguments, and the op gives "
                       "104");
}

static void test_too_much_smem(void **state) {
  if (!*state) skip();
  setenv("FAKE_CUDA_SMEM", "99000", 1);
  expect_part(prepare, "3001 toy wants 100000 bytes of shared memory a block; cuda:1 has 99000");
}

static void test_missing_device(void **state) {
  if (!*state) skip();
  expect(missing_device, "3003 no such device: cuda:5 (there are 2)");
  expect(no_gpu, "3003 no such device: cuda:9 (there are 2)");
}

#define T(test) cmocka_unit_test_setup(test, setup)

int main(void) {
  fake = build_path("tests/libfake_cuda.so");
  const struct CMUnitTest tests[] = {
      T(test_prepare),
      T(test_launch),
      T(test_each_failure_is_undone),
      T(test_driver_older_than_nvrtc),
      T(test_destroy_after_driver),
      T(test_wrong_parameters),
      T(test_too_much_smem),
      T(test_missing_device),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  free(fake);
  return failed;
}
