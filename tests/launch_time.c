/* SPDX-License-Identifier: MIT
 * launch_time.c - what the host pays for an op: a launch, finding it again, a warm start.
 *
 *   build/tests/launch_time [cuda:N]
 *
 *   launch      host time of one mkc_op_launch of a one-kernel op, without waiting for it; and of
 *               its checks alone (mkc_op_workspace makes the same ones)
 *   found       mkc_op_create of an op that the context has, by name and by a spec's text
 *   warm start  context, op and prepare in a new process whose disk cache has the code; the driver
 *               has started before, and NVRTC must not be opened
 *
 * Each number is the median of several rounds. By hand, on a machine with a GPU; with
 * MASKC_LIBCUDA=build/tests/libfake_cuda.so the driver's part costs nothing.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "op.h"
#include "support.h"

enum {
  ROUNDS = 21,
  LAUNCHES = 400,
  FINDS = 100000,
  STARTS = 11
}; /* a queue takes 1,024 launches */
enum { T = 64, D = 64 };

static double now_ns(void) {
  struct timespec t = {0};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, int n) {
  qsort(values, (size_t)n, sizeof *values, by_value);
  return values[n / 2];
}

static void must(mkc_status st) {
  if (!st) return;
  fprintf(stderr, "launch_time: %s\n", mkc_last_error());
  exit(3);
}

static void must_cuda(CUresult r, const char *call) {
  if (r == CUDA_SUCCESS) return;
  fprintf(stderr, "launch_time: %s: error %d\n", call, r);
  exit(3);
}

/* ---- an op ---- */

static mkc_op_options options_of(const char *device, int d) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  o.spec_path = "simple_gla";
  o.device = device;
  o.dk = o.dv = d;
  return o;
}

static mkc_op *create(mkc_context *ctx, const mkc_op_options *o) {
  mkc_op *op;
  char bytes[32];
  must(mkc_op_create(ctx, o, &op));
  /* a fake driver believes what it is told */
  snprintf(bytes, sizeof bytes, "%zu", op_args_bytes(op_source_of(op)));
  setenv("FAKE_CUDA_PARAM_BYTES", bytes, 1);
  setenv("FAKE_CUDA_KERNEL", op_source_of(op)->entry, 1);
  return op;
}

/* One head of T tokens, contiguous: every array in a piece of memory of its own. */
static void describe(const mkc_op *op, CUdeviceptr memory, mkc_tensor *args) {
  for (int i = 0; i < mkc_op_arg_count(op); i++) {
    mkc_arg_info info = MKC_ARG_INFO_INIT;
    must(mkc_op_arg_info(op, i, &info));
    if (info.optional) continue;
    args[i].data = (char *)(uintptr_t)memory + (size_t)i * T * D * 4; /* NOLINT: an address */
    args[i].dtype = info.dtype;
    args[i].ndim = (int)strlen(info.axes);
    int64_t stride = 1;
    for (int d = args[i].ndim - 1; d >= 0; d--) {
      const char axis = info.axes[d];
      args[i].shape[d] = axis == 'T' ? T : axis == 'k' || axis == 'v' ? D : 1;
      args[i].stride[d] = stride;
      stride *= args[i].shape[d];
    }
  }
}

/* ---- in this process ---- */

static CUcontext use_device(const struct driver **ret, int ordinal) {
  struct error err = {0};
  CUdevice device;
  CUcontext context;
  if (driver_open(ret, &err)) {
    fprintf(stderr, "launch_time: %s\n", error_text(&err));
    exit(3);
  }
  must_cuda((*ret)->cuDeviceGet(&device, ordinal), "cuDeviceGet");
  must_cuda((*ret)->cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  must_cuda((*ret)->cuCtxSetCurrent(context), "cuCtxSetCurrent");
  return context;
}

static void time_launches(const struct driver *cu, const mkc_op *op) {
  mkc_tensor args[OP_MAX_ARRAYS] = {{0}};
  double launch[ROUNDS], checks[ROUNDS];
  const int n = mkc_op_arg_count(op);
  CUdeviceptr memory = 0x10000;
  CUstream stream = NULL;
  size_t bytes;
  must_cuda(cu->cuMemAlloc(&memory, (size_t)OP_MAX_ARRAYS * T * D * 4), "cuMemAlloc");
  must_cuda(cu->cuMemsetD8(memory, 0, (size_t)OP_MAX_ARRAYS * T * D * 4), "cuMemsetD8");
  must_cuda(cu->cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  must_cuda(cu->cuCtxSynchronize(), "cuCtxSynchronize");
  describe(op, memory, args);
  for (int round = 0; round < ROUNDS; round++) {
    double start = now_ns();
    for (int i = 0; i < LAUNCHES; i++) must(mkc_op_launch(op, args, n, NULL, 0, stream));
    launch[round] = (now_ns() - start) / LAUNCHES;
    must_cuda(cu->cuStreamSynchronize(stream), "cuStreamSynchronize");
    start = now_ns();
    for (int i = 0; i < LAUNCHES; i++) must(mkc_op_workspace(op, args, n, &bytes));
    checks[round] = (now_ns() - start) / LAUNCHES;
  }
  printf("launch      %8.0f ns, of which checks %.0f ns\n", median(launch, ROUNDS),
         median(checks, ROUNDS));
}

/* The text of a spec that ships. */
static const char gla[] = "return variant {\n"
                          "  name  = 'simple_gla',\n"
                          "  scale = dk^-0.5,\n"
                          "  transition = { decay(exp(input { 'g', max = 0 })) },\n"
                          "}\n";

static double time_found(mkc_context *ctx, const mkc_op_options *o) {
  static mkc_op *found[FINDS];
  double ns[ROUNDS];
  mkc_op *op = create(ctx, o);
  for (int round = 0; round < ROUNDS; round++) {
    const double start = now_ns();
    for (int i = 0; i < FINDS; i++) mkc_op_create(ctx, o, &found[i]);
    ns[round] = (now_ns() - start) / FINDS;
    for (int i = 0; i < FINDS; i++) mkc_op_destroy(found[i]);
  }
  mkc_op_destroy(op);
  return median(ns, ROUNDS);
}

/* ---- a process of its own ---- */

static bool nvrtc_is_open(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[4600];
  bool open = false;
  while (maps && fgets(line, sizeof line, maps)) open |= strstr(line, "nvrtc") != NULL;
  if (maps) fclose(maps);
  return open;
}

/* Prints ms of create, ms of prepare, and 1 if NVRTC was opened. */
static int start(const char *device, int ordinal) {
  const struct driver *cu;
  use_device(&cu, ordinal);
  const mkc_op_options o = options_of(device, 128);
  mkc_context *ctx;
  const double begin = now_ns();
  must(mkc_context_create(NULL, &ctx));
  mkc_op *op = create(ctx, &o);
  const double created = now_ns();
  must(mkc_op_prepare(op));
  printf("%.3f %.3f %d\n", (created - begin) * 1e-6, (now_ns() - created) * 1e-6, nvrtc_is_open());
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
  return 0;
}

static void start_process(const char *device, const char *cache, double *ret_create,
                          double *ret_prepare, int *ret_nvrtc) {
  char variable[4300];
  snprintf(variable, sizeof variable, "MASKC_CACHE_DIR=%s", cache);
  const char *const argv[] = {"/proc/self/exe", device, "--start", NULL};
  const char *const env[] = {variable, NULL};
  struct command_result r;
  command_run(argv, env, &r);
  if (r.status || sscanf(r.out, "%lf %lf %d", ret_create, ret_prepare, ret_nvrtc) != 3) {
    fprintf(stderr, "launch_time: a process ended with %d: %s", r.status, r.err);
    exit(3);
  }
  command_result_finish(&r);
}

static void time_starts(const char *device) {
  double create_ms[STARTS], prepare_ms[STARTS], whole[STARTS], cold, compile;
  char *cache = temp_dir();
  int nvrtc = 0, opened = 0;
  start_process(device, cache, &cold, &compile, &nvrtc); /* fills the cache */
  printf("cold start  %8.2f ms (create %.2f, prepare %.2f)\n", cold + compile, cold, compile);
  for (int i = 0; i < STARTS; i++) {
    start_process(device, cache, &create_ms[i], &prepare_ms[i], &nvrtc);
    whole[i] = create_ms[i] + prepare_ms[i];
    opened += nvrtc;
  }
  printf("warm start  %8.2f ms (create %.2f, prepare %.2f), NVRTC opened %d times of %d\n",
         median(whole, STARTS), median(create_ms, STARTS), median(prepare_ms, STARTS), opened,
         STARTS);
  remove_dir(cache);
  free(cache);
}

int main(int argc, char **argv) {
  const char *device = argc > 1 ? argv[1] : "cuda:0";
  const int ordinal = strncmp(device, "cuda:", 5) ? 0 : atoi(device + 5);
  const struct driver *cu;
  char name[96] = "";
  CUdevice handle;
  if (argc > 2 && !strcmp(argv[2], "--start")) return start(device, ordinal);
  use_device(&cu, ordinal);
  cu->cuDeviceGet(&handle, ordinal);
  cu->cuDeviceGetName(name, sizeof name, handle);
  printf("%s: %s\n", device, name);
  mkc_context *ctx;
  must(mkc_context_create(NULL, &ctx));
  const mkc_op_options named = options_of(device, D);
  mkc_op_options given = named;
  given.spec_path = NULL;
  given.spec_text = gla;
  mkc_op *op = create(ctx, &named);
  must(mkc_op_prepare(op));
  time_launches(cu, op);
  mkc_op_destroy(op);
  printf("found       %8.0f ns by name, ", time_found(ctx, &named));
  printf("%.0f ns by a text of %zu bytes\n", time_found(ctx, &given), strlen(gla));
  mkc_context_destroy(ctx);
  time_starts(device);
  return 0;
}
