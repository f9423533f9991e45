/* SPDX-License-Identifier: MIT
 * fake_libcuda.c - a libcuda that tests can load: it writes down the calls it gets, keeps the
 * arguments of a launch, and fails where it is told to. As in the real one each device has its
 * primary context, each thread its stack of current ones, and functions and streams belong to the
 * context that they were made in; while a graph is captured, launches work and nothing that loads.
 *
 *   MASKC_LIBCUDA=.../libfake_cuda.so   FAKE_CUDA_COUNT=2   FAKE_CUDA_ARCH=90
 *   FAKE_CUDA_FAIL=cuLibraryLoadData:209   FAKE_CUDA_PARAM_BYTES=64   FAKE_CUDA_SMEM=232448
 *   FAKE_CUDA_VERSION=12040   FAKE_CUDA_KERNEL=NAME (what a library holds; kernel_entry)
 *
 * Compiled with FAKE_CUDA_11 it lacks what came with CUDA 12.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/driver.h"

#define EXPORT __attribute__((visibility("default")))

enum { FIRST_DEVICE = 40, STREAM_CAPTURE_UNSUPPORTED = 900 };
enum { MAX_DEVICES = 8, MAX_OBJECTS = 256, MAX_CURRENT = 8 };

/* What a handle points at. Functions and streams remember their context. */
struct fake_handle {
  char kind; /* 'c' context, 'l' library, 'k' kernel, 'f' function, 's' stream */
  struct fake_handle *context;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of what is written down */
static char calls[8192];
static unsigned char launch_args[4096];
static char launch_shape[128];
static struct fake_handle contexts[MAX_DEVICES], objects[MAX_OBJECTS];
static int nobjects, capturing;
static _Thread_local struct fake_handle *current[MAX_CURRENT]; /* a stack; empty ones are NULL */
static _Thread_local int depth;

/* What the test reads, through dlsym. */
EXPORT const char *fake_cuda_calls(void);
EXPORT const void *fake_cuda_launch_args(void);
EXPORT const char *fake_cuda_launch_shape(void);
EXPORT void fake_cuda_forget(void);        /* the calls so far */
EXPORT void fake_cuda_capture(int active); /* of a graph, on any stream */

const char *fake_cuda_calls(void) {
  return calls;
}
const void *fake_cuda_launch_args(void) {
  return launch_args;
}
const char *fake_cuda_launch_shape(void) {
  return launch_shape;
}
void fake_cuda_forget(void) {
  calls[0] = 0;
}
void fake_cuda_capture(int active) {
  capturing = active;
}

static int number(const char *variable, int otherwise) {
  const char *value = getenv(variable);
  return value ? atoi(value) : otherwise;
}

/* Notes the call; the result that FAKE_CUDA_FAIL asks for it. */
static CUresult note(const char *call) {
  const char *fail = getenv("FAKE_CUDA_FAIL");
  const size_t n = strlen(call);
  pthread_mutex_lock(&mutex);
  if (strlen(calls) + n + 2 < sizeof calls) strcat(strcat(calls, call), " ");
  pthread_mutex_unlock(&mutex);
  if (fail && !strncmp(fail, call, n) && fail[n] == ':') return atoi(fail + n + 1);
  const int harmless = !strcmp(call, "cuLaunchKernel") || !strcmp(call, "cuCtxGetCurrent");
  return capturing && !harmless ? STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

/* *ret, a handle of any type: a new object. */
static void give(void *ret, char kind, struct fake_handle *context) {
  struct fake_handle *object = &objects[nobjects++ % MAX_OBJECTS];
  *object = (struct fake_handle){kind, context};
  memcpy(ret, &object, sizeof object);
}

static int is(const void *handle, char kind) {
  return handle && ((const struct fake_handle *)handle)->kind == kind;
}

static int is_ours(const void *handle) {
  const char *p = handle, *first = (const char *)objects;
  return p >= first && p < first + sizeof objects;
}

#define CALL(name, parameters)     \
  EXPORT CUresult name parameters; \
  CUresult name parameters

#define PLAIN(name, parameters) \
  CALL(name, parameters) {      \
    return note(#name);         \
  }

CALL(cuInit, (unsigned flags)) {
  return flags ? CUDA_ERROR_INVALID_VALUE : note("cuInit");
}

CALL(cuDriverGetVersion, (int *version)) {
  *version = number("FAKE_CUDA_VERSION", 13000);
  return note("cuDriverGetVersion");
}

CALL(cuGetErrorName, (CUresult r, const char **name)) {
  if (r != CUDA_ERROR_NO_BINARY_FOR_GPU && r != CUDA_ERROR_OUT_OF_MEMORY && r != 719) {
    *name = NULL;
    return CUDA_ERROR_INVALID_VALUE;
  }
  *name = r == CUDA_ERROR_OUT_OF_MEMORY       ? "CUDA_ERROR_OUT_OF_MEMORY"
          : r == CUDA_ERROR_NO_BINARY_FOR_GPU ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
                                              : "CUDA_ERROR_LAUNCH_FAILED";
  return CUDA_SUCCESS;
}

CALL(cuGetErrorString, (CUresult r, const char **text)) {
  (void)r;
  *text = "a text of the driver";
  return CUDA_SUCCESS;
}

CALL(cuDeviceGetCount, (int *count)) {
  *count = number("FAKE_CUDA_COUNT", 2);
  return note("cuDeviceGetCount");
}

CALL(cuDeviceGet, (CUdevice * device, int ordinal)) {
  *device = ordinal + FIRST_DEVICE; /* a handle is not an ordinal */
  return ordinal < number("FAKE_CUDA_COUNT", 2) ? note("cuDeviceGet") : CUDA_ERROR_INVALID_DEVICE;
}

CALL(cuDeviceGetName, (char *name, int len, CUdevice device)) {
  snprintf(name, (size_t)len, "Fake %d", device - FIRST_DEVICE);
  return note("cuDeviceGetName");
}

CALL(cuDeviceGetAttribute, (int *value, int attribute, CUdevice device)) {
  const int arch = number("FAKE_CUDA_ARCH", 90);
  (void)device;
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = arch / 10; break;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = arch % 10; break;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; break;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
    *value = number("FAKE_CUDA_SMEM", 232448);
    break;
  default: return CUDA_ERROR_INVALID_VALUE;
  }
  return note("cuDeviceGetAttribute");
}

CALL(cuDeviceTotalMem_v2, (size_t * bytes, CUdevice device)) {
  (void)device;
  *bytes = (size_t)80 << 30;
  return note("cuDeviceTotalMem_v2");
}

CALL(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device)) {
  struct fake_handle *primary = &contexts[(device - FIRST_DEVICE) % MAX_DEVICES];
  primary->kind = 'c';
  memcpy(context, &primary, sizeof primary);
  return note("cuDevicePrimaryCtxRetain");
}

PLAIN(cuDevicePrimaryCtxRelease_v2, (CUdevice device __attribute__((unused))))

CALL(cuCtxGetCurrent, (CUcontext * context)) {
  memcpy(context, &current[depth], sizeof *context);
  return note("cuCtxGetCurrent");
}

CALL(cuCtxSetCurrent, (CUcontext context)) {
  memcpy(&current[depth], &context, sizeof context);
  return note("cuCtxSetCurrent");
}

CALL(cuCtxPushCurrent_v2, (CUcontext context)) {
  if (depth + 1 == MAX_CURRENT || !is(context, 'c')) return CUDA_ERROR_INVALID_CONTEXT;
  memcpy(&current[++depth], &context, sizeof context);
  return note("cuCtxPushCurrent");
}

CALL(cuCtxPopCurrent_v2, (CUcontext * context)) {
  if (depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
  memcpy(context, &current[depth--], sizeof *context);
  return note("cuCtxPopCurrent");
}

PLAIN(cuCtxSynchronize, (void))

#ifndef FAKE_CUDA_11
CALL(cuLibraryLoadData, (CUlibrary * library, const void *code, int *jit_options, void **jit_values,
                         unsigned jit_count, int *options, void **values, unsigned count)) {
  (void)jit_options, (void)jit_values, (void)options, (void)values;
  const bool known = memcmp(code, "\177ELF", 4) == 0 || memcmp(code, "//", 2) == 0; /* or PTX */
  if (!known || jit_count || count) return CUDA_ERROR_INVALID_VALUE;
  give(library, 'l', NULL);
  return note("cuLibraryLoadData");
}

CALL(cuLibraryUnload, (CUlibrary library)) {
  return is(library, 'l') ? note("cuLibraryUnload") : CUDA_ERROR_INVALID_HANDLE;
}

CALL(cuLibraryGetKernel, (CUkernel * kernel, CUlibrary library, const char *name)) {
  const char *held = getenv("FAKE_CUDA_KERNEL");
  if (!is(library, 'l') || strcmp(name, held ? held : "kernel_entry") != 0)
    return CUDA_ERROR_NOT_FOUND;
  give(kernel, 'k', NULL);
  return note("cuLibraryGetKernel");
}

#endif

CALL(cuKernelGetFunction, (CUfunction * function, CUkernel kernel)) {
  if (!current[depth] || !is(kernel, 'k')) return CUDA_ERROR_INVALID_CONTEXT;
  give(function, 'f', current[depth]);
  return note("cuKernelGetFunction");
}

CALL(cuKernelGetParamInfo, (CUkernel kernel, size_t index, size_t *offset, size_t *bytes)) {
  if (!is(kernel, 'k') || index) return CUDA_ERROR_INVALID_VALUE;
  *offset = 0;
  *bytes = (size_t)number("FAKE_CUDA_PARAM_BYTES", 0);
  return note("cuKernelGetParamInfo");
}

CALL(cuFuncGetAttribute, (int *value, int attribute, CUfunction function)) {
  (void)function;
  *value = attribute == CU_FUNC_ATTRIBUTE_NUM_REGS ? 128 : 0;
  return note("cuFuncGetAttribute");
}

CALL(cuFuncSetAttribute, (CUfunction function, int attribute, int value)) {
  (void)function, (void)value;
  return attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ? note("cuFuncSetAttribute")
                                                                      : CUDA_ERROR_INVALID_VALUE;
}

PLAIN(cuFuncLoad, (CUfunction function __attribute__((unused))))

CALL(cuLaunchKernel, (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                      unsigned block_x, unsigned block_y, unsigned block_z, unsigned smem_bytes,
                      CUstream stream, void **params, void **extra)) {
  const struct fake_handle *context = current[depth];
  if (!is(function, 'f') || extra) return CUDA_ERROR_INVALID_VALUE;
  if (!context || ((struct fake_handle *)function)->context != context)
    return CUDA_ERROR_INVALID_CONTEXT;
  if (is_ours(stream) && ((struct fake_handle *)stream)->context != context)
    return CUDA_ERROR_INVALID_HANDLE;
  pthread_mutex_lock(&mutex);
  memcpy(launch_args, params[0], (size_t)number("FAKE_CUDA_PARAM_BYTES", 0));
  snprintf(launch_shape, sizeof launch_shape, "%u %u %u, %u %u %u, %u, %p", grid_x, grid_y, grid_z,
           block_x, block_y, block_z, smem_bytes, (void *)stream);
  pthread_mutex_unlock(&mutex);
  return note("cuLaunchKernel");
}

PLAIN(cuMemAlloc_v2, (CUdeviceptr * p __attribute__((unused)), size_t n __attribute__((unused))))
PLAIN(cuMemFree_v2, (CUdeviceptr p __attribute__((unused))))
PLAIN(cuMemcpyHtoD_v2, (void))
PLAIN(cuMemcpyDtoH_v2, (void))
PLAIN(cuMemcpyDtoDAsync_v2, (void))
PLAIN(cuMemsetD8_v2, (void))
CALL(cuStreamCreate, (CUstream * stream, unsigned flags)) {
  (void)flags;
  give(stream, 's', current[depth]);
  return note("cuStreamCreate");
}

PLAIN(cuStreamDestroy_v2, (void))
PLAIN(cuStreamSynchronize, (void))
PLAIN(cuStreamIsCapturing, (void))
PLAIN(cuEventCreate, (void))
PLAIN(cuEventDestroy_v2, (void))
PLAIN(cuEventRecord, (void))
PLAIN(cuEventSynchronize, (void))
PLAIN(cuEventElapsedTime, (void))
