/* SPDX-License-Identifier: MIT
 * driver.h - the CUDA driver, opened at run time: a table of the functions that maskc calls.
 *
 * Types and values are those of the driver's binary interface, so no CUDA header is needed to
 * build. The functions keep their CUDA names; where the library exports several versions of one,
 * the table says which it takes.
 *
 *   const struct driver *cu;
 *   if (driver_open(&cu, err)) return err->status;
 *   CU_TRY(cu, err, cuMemAlloc, &pointer, bytes);
 */
#ifndef MKC_DRIVER_H
#define MKC_DRIVER_H

#include <stddef.h>

#include "base/error.h"

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUlib_st *CUlibrary;
typedef struct CUkern_st *CUkernel;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;

enum {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_DEINITIALIZED = 4,
  CUDA_ERROR_STUB_LIBRARY = 34,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500
};

enum {
  CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13, /* kHz */
  CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
  CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36, /* kHz */
  CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
  CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97
};

enum {
  CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
  CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3,
  CU_FUNC_ATTRIBUTE_NUM_REGS = 4,
  CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8
};

enum { CU_STREAM_DEFAULT = 0, CU_STREAM_NON_BLOCKING = 1 };
enum { CU_STREAM_CAPTURE_STATUS_NONE = 0, CU_STREAM_CAPTURE_STATUS_ACTIVE = 1 };
enum { CU_EVENT_DEFAULT = 0 };

/* X(function, symbol, parameters): all of them are there in a driver of CUDA 12.0 and later. */
#define DRIVER_FUNCTIONS(X)                                                                       \
  X(cuInit, "cuInit", (unsigned flags))                                                           \
  X(cuDriverGetVersion, "cuDriverGetVersion", (int *version))                                     \
  X(cuGetErrorName, "cuGetErrorName", (CUresult r, const char **name))                            \
  X(cuGetErrorString, "cuGetErrorString", (CUresult r, const char **text))                        \
  X(cuDeviceGet, "cuDeviceGet", (CUdevice * device, int ordinal))                                 \
  X(cuDeviceGetCount, "cuDeviceGetCount", (int *count))                                           \
  X(cuDeviceGetName, "cuDeviceGetName", (char *name, int len, CUdevice device))                   \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, CUdevice device))   \
  X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t * bytes, CUdevice device))                   \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device)) \
  X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (CUdevice device))                 \
  X(cuCtxGetCurrent, "cuCtxGetCurrent", (CUcontext * context))                                    \
  X(cuCtxSetCurrent, "cuCtxSetCurrent", (CUcontext context))                                      \
  X(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (CUcontext context))                                 \
  X(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (CUcontext * context))                                 \
  X(cuCtxSynchronize, "cuCtxSynchronize", (void))                                                 \
  X(cuLibraryLoadData, "cuLibraryLoadData",                                                       \
    (CUlibrary * library, const void *code, int *jit_options, void **jit_values,                  \
     unsigned jit_count, int *options, void **values, unsigned count))                            \
  X(cuLibraryUnload, "cuLibraryUnload", (CUlibrary library))                                      \
  X(cuLibraryGetKernel, "cuLibraryGetKernel",                                                     \
    (CUkernel * kernel, CUlibrary library, const char *name))                                     \
  X(cuKernelGetFunction, "cuKernelGetFunction", (CUfunction * function, CUkernel kernel))         \
  X(cuFuncGetAttribute, "cuFuncGetAttribute", (int *value, int attribute, CUfunction function))   \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", (CUfunction function, int attribute, int value))    \
  X(cuLaunchKernel, "cuLaunchKernel",                                                             \
    (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,    \
     unsigned block_y, unsigned block_z, unsigned smem_bytes, CUstream stream, void **params,     \
     void **extra))                                                                               \
  X(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr * pointer, size_t bytes))                           \
  X(cuMemFree, "cuMemFree_v2", (CUdeviceptr pointer))                                             \
  X(cuMemcpyHtoD, "cuMemcpyHtoD_v2", (CUdeviceptr to, const void *from, size_t bytes))            \
  X(cuMemcpyDtoH, "cuMemcpyDtoH_v2", (void *to, CUdeviceptr from, size_t bytes))                  \
  X(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2",                                                    \
    (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))                            \
  X(cuMemsetD8, "cuMemsetD8_v2", (CUdeviceptr to, unsigned char value, size_t bytes))             \
  X(cuStreamCreate, "cuStreamCreate", (CUstream * stream, unsigned flags))                        \
  X(cuStreamDestroy, "cuStreamDestroy_v2", (CUstream stream))                                     \
  X(cuStreamSynchronize, "cuStreamSynchronize", (CUstream stream))                                \
  X(cuStreamIsCapturing, "cuStreamIsCapturing", (CUstream stream, int *status))                   \
  X(cuEventCreate, "cuEventCreate", (CUevent * event, unsigned flags))                            \
  X(cuEventDestroy, "cuEventDestroy_v2", (CUevent event))                                         \
  X(cuEventRecord, "cuEventRecord", (CUevent event, CUstream stream))                             \
  X(cuEventSynchronize, "cuEventSynchronize", (CUevent event))                                    \
  X(cuEventElapsedTime, "cuEventElapsedTime", (float *ms, CUevent start, CUevent end))

/* Newer ones, NULL where the driver has none (before CUDA 12.4). */
#define DRIVER_OPTIONAL_FUNCTIONS(X)                 \
  X(cuFuncLoad, "cuFuncLoad", (CUfunction function)) \
  X(cuKernelGetParamInfo, "cuKernelGetParamInfo",    \
    (CUkernel kernel, size_t index, size_t * offset, size_t * bytes))

struct driver {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): they are a declaration */
#define X(function, symbol, parameters) CUresult(*function) parameters;
  DRIVER_FUNCTIONS(X)
  DRIVER_OPTIONAL_FUNCTIONS(X)
#undef X
};

/* The table, opened and initialised on the first call, for the whole process: libcuda.so.1, or the
 * file that MASKC_LIBCUDA names. What the first call found, later ones find too.
 * Errors: MKC_E_NO_DEVICE. */
mkc_status driver_open(const struct driver **ret, struct error *err);

/* MKC_E_NO_DEVICE in a child that was forked after driver_open: CUDA cannot be used there, and its
 * calls may hang or crash. Reads a flag, no more, so a launch can ask too. */
mkc_status driver_check_fork(struct error *err);

/* The CUDA version that the driver serves, 13000 for 13.0; 0 if there is no driver. Also where
 * there is a driver and no GPU. */
int driver_version(void);
const char *driver_path(void); /* what was opened or tried */

/* Says which call failed and how; MKC_E_OUT_OF_MEMORY or MKC_E_CUDA. */
mkc_status driver_error(const struct driver *cu, CUresult r, const char *call, struct error *err);

/* From a function that returns mkc_status: call, and return what went wrong. */
#define CU_TRY(cu, err, function, ...)                                                       \
  do {                                                                                       \
    const CUresult cu_result_ = (cu)->function(__VA_ARGS__);                                 \
    if (cu_result_ != CUDA_SUCCESS) return driver_error((cu), cu_result_, #function, (err)); \
  } while (0)

#endif
