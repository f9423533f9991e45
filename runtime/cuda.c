/* SPDX-License-Identifier: MIT
 * cuda.c - the backend of "cuda:N": source -> cubin (or what a pack has) -> loaded function ->
 * launch.
 *
 * load does all that may allocate, block or synchronise; launch makes two driver calls that are
 * legal while a stream is being captured into a graph.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "compile.h"
#include "context.h"
#include "device_info.h"
#include "driver.h"

struct loaded {
  const struct allocator *allocator; /* of this struct */
  const struct driver *cu;
  int ordinal; /* the N of cuda:N */
  CUdevice device;
  CUcontext context; /* the device's primary one, retained; NULL: not yet */
  CUlibrary library; /* NULL: not yet */
  CUkernel kernel;
  CUfunction function;
  unsigned threads, smem_bytes;
};

/* A cubin runs on the GPUs of its own architecture only. */
static void explain_wrong_arch(const struct loaded *op, const struct op_source *src,
                               struct error *err) {
  struct gpu_info gpu;
  struct error ignored = {0};
  if (gpu_info_get(op->ordinal, &gpu, &ignored) == MKC_OK)
    error_append(err, ": the op is made for %s, and cuda:%d (%s) is %s", src->arch, op->ordinal,
                 gpu.name, gpu.arch);
  error_finish(&ignored);
}

/* Which NVRTC made the code, 13000 for 13.0; 0: it cannot be known any more. This opens NVRTC,
 * which a cached cubin did not need, but only on the way to an error. */
static int maker(mkc_context *ctx, const struct op_source *src) {
  const struct nvrtc *nvrtc;
  struct error ignored = {0};
  int major = 0, minor = 0;
  if (src->code) return pack_nvrtc(src->pack);
  if (context_nvrtc(ctx, &nvrtc, &ignored) == MKC_OK) nvrtc_version(nvrtc, &major, &minor);
  error_finish(&ignored);
  return 1000 * major + 10 * minor;
}

/* What a newer toolkit made, of another major version above all, is no image to a driver. */
static void explain_old_driver(mkc_context *ctx, const struct op_source *src, struct error *err) {
  const int driver = driver_version(), made_by = maker(ctx, src);
  if (!driver || made_by <= driver) return;
  error_append(err,
               ": the driver is one of CUDA %d.%d, older than NVRTC %d.%d, which made the code: "
               "update the NVIDIA driver, or ",
               driver / 1000, driver % 1000 / 10, made_by / 1000, made_by % 1000 / 10);
  if (src->code)
    error_append(err, "build the pack with an NVRTC of CUDA %d", driver / 1000);
  else
    error_append(err, "name an NVRTC of CUDA %d in MASKC_NVRTC_PATH", driver / 1000);
}

static mkc_status load_library(mkc_context *ctx, struct loaded *op, const struct op_source *src,
                               const void *code, struct error *err) {
  const CUresult r = op->cu->cuLibraryLoadData(&op->library, code, NULL, NULL, 0, NULL, NULL, 0);
  if (r != CUDA_SUCCESS) {
    op->library = NULL;
    driver_error(op->cu, r, "cuLibraryLoadData", err);
    if (r == CUDA_ERROR_NO_BINARY_FOR_GPU) explain_wrong_arch(op, src, err);
    if (r == CUDA_ERROR_NO_BINARY_FOR_GPU || r == CUDA_ERROR_INVALID_IMAGE ||
        r == CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
      explain_old_driver(ctx, src, err);
    return err->status;
  }
  CU_TRY(op->cu, err, cuLibraryGetKernel, &op->kernel, op->library, src->entry);
  CU_TRY(op->cu, err, cuKernelGetFunction, &op->function, op->kernel);
  return MKC_OK;
}

/* The kernel takes the argument block as its only parameter; a wrong size would be read past. */
static mkc_status check_parameter(const struct loaded *op, const struct op_source *src,
                                  struct error *err) {
  if (!op->cu->cuKernelGetParamInfo) return MKC_OK;
  size_t offset = 0, bytes = 0;
  CU_TRY(op->cu, err, cuKernelGetParamInfo, op->kernel, 0, &offset, &bytes);
  if (offset == 0 && bytes == op_args_bytes(src)) return MKC_OK;
  return error_set(err, MKC_E_INTERNAL,
                   "the kernel %s takes %zu bytes of arguments, and the op gives %zu", src->entry,
                   bytes, op_args_bytes(src));
}

static mkc_status set_smem(const struct loaded *op, const struct op_source *src,
                           struct error *err) {
  int limit = 0;
  CU_TRY(op->cu, err, cuDeviceGetAttribute, &limit,
         CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, op->device);
  if (src->smem_bytes > limit)
    return error_set(err, MKC_E_NO_SCHEDULE,
                     "%s wants %d bytes of shared memory a block; cuda:%d has %d", src->name,
                     src->smem_bytes, op->ordinal, limit);
  CU_TRY(op->cu, err, cuFuncSetAttribute, op->function,
         CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, src->smem_bytes);
  return MKC_OK;
}

static void log_resources(mkc_context *ctx, const struct loaded *op, const struct op_source *src) {
  int registers = 0, local_bytes = 0;
  if (op->cu->cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, op->function) ||
      op->cu->cuFuncGetAttribute(&local_bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, op->function))
    return;
  context_log(ctx, LOG_INFO, "%s: loaded on cuda:%d: %d registers, %d bytes of local memory",
              src->name, op->ordinal, registers, local_bytes);
}

/* With the primary context current. */
static mkc_status load_in_context(mkc_context *ctx, struct loaded *op, const struct op_source *src,
                                  const void *code, struct error *err) {
  mkc_status st = load_library(ctx, op, src, code, err);
  if (!st) st = check_parameter(op, src, err);
  if (!st) st = set_smem(op, src, err);
  if (st) return st;
  /* Under lazy loading the code would move to the GPU at the first launch, maybe in a capture. */
  if (op->cu->cuFuncLoad) CU_TRY(op->cu, err, cuFuncLoad, op->function);
  log_resources(ctx, op, src);
  return MKC_OK;
}

static mkc_status find_device(struct loaded *op, struct error *err) {
  int count = 0;
  CU_TRY(op->cu, err, cuDeviceGetCount, &count);
  if (op->ordinal >= count)
    return error_set(err, MKC_E_NO_DEVICE, "no such device: cuda:%d (there %s %d)", op->ordinal,
                     count == 1 ? "is" : "are", count);
  CU_TRY(op->cu, err, cuDeviceGet, &op->device, op->ordinal);
  return MKC_OK;
}

/* The calling thread's context is as before when this returns. */
static mkc_status load_on_device(mkc_context *ctx, struct loaded *op, const struct op_source *src,
                                 const void *code, struct error *err) {
  const CUresult r = op->cu->cuDevicePrimaryCtxRetain(&op->context, op->device);
  if (r != CUDA_SUCCESS) {
    op->context = NULL;
    return driver_error(op->cu, r, "cuDevicePrimaryCtxRetain", err);
  }
  CU_TRY(op->cu, err, cuCtxPushCurrent, op->context);
  const mkc_status st = load_in_context(ctx, op, src, code, err);
  CUcontext popped;
  op->cu->cuCtxPopCurrent(&popped);
  return st;
}

/* What a pack brought, or the compiler's; *ret_owned is the caller's to free. */
static mkc_status get_code(mkc_context *ctx, const struct op_source *src, const void **ret,
                           void **ret_owned, struct error *err) {
  size_t len = 0;
  *ret = src->code;
  *ret_owned = NULL;
  if (src->code) return MKC_OK;
  const mkc_status st = compile_source(ctx, src, NVRTC_CUBIN, ret_owned, &len, err);
  *ret = *ret_owned;
  return st;
}

static void cuda_unload(struct loaded *op);

static mkc_status cuda_load(mkc_context *ctx, const struct op_source *src, int device,
                            mkc_check check, struct loaded **ret, struct error *err) {
  *ret = NULL;
  if (check != MKC_CHECK_NONE)
    return error_set(err, MKC_E_ARGUMENT, "checks are for the CPU device, not for cuda:%d", device);
  const struct driver *cu;
  mkc_status st = driver_open(&cu, err);
  if (st) return st;
  struct loaded *op = alloc_zeroed(context_allocator(ctx), sizeof *op);
  if (!op) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  op->allocator = context_allocator(ctx);
  op->cu = cu;
  op->ordinal = device;
  op->threads = (unsigned)src->threads;
  op->smem_bytes = (unsigned)src->smem_bytes;
  const void *code = NULL;
  void *compiled = NULL;
  st = find_device(op, err);
  if (!st) st = get_code(ctx, src, &code, &compiled, err);
  if (!st) st = load_on_device(ctx, op, src, code, err);
  free(compiled); /* the driver has made its copy */
  if (st) {
    cuda_unload(op);
    return st;
  }
  *ret = op;
  return MKC_OK;
}

static mkc_status wrong_context(const struct loaded *op, bool none, struct error *err) {
  return error_set(err, MKC_E_USAGE,
                   "the primary context of cuda:%d is not current on this thread (%s is): call "
                   "cudaSetDevice(%d), or cuCtxSetCurrent with what cuDevicePrimaryCtxRetain gives",
                   op->ordinal, none ? "none" : "another", op->ordinal);
}

/* The driver has looked at the stream, so that a launch that works need not. */
static mkc_status launch_failed(const struct loaded *op, CUresult r, const void *stream,
                                struct error *err) {
  if (!stream || (r != CUDA_ERROR_INVALID_HANDLE && r != CUDA_ERROR_INVALID_CONTEXT))
    return driver_error(op->cu, r, "cuLaunchKernel", err);
  return error_set(err, MKC_E_USAGE,
                   "the stream is none of the primary context of cuda:%d: it belongs to another "
                   "context or device, or was destroyed",
                   op->ordinal);
}

static mkc_status cuda_launch(const struct loaded *op, const void *args, long long blocks,
                              void *stream, struct error *err) {
  CUcontext current = NULL;
  const mkc_status st = driver_check_fork(err);
  if (st) return st;
  CU_TRY(op->cu, err, cuCtxGetCurrent, &current);
  if (current != op->context) return wrong_context(op, current == NULL, err);
  void *params[1];
  memcpy(params, &args, sizeof params); /* the driver's type lacks a const */
  const CUresult r = op->cu->cuLaunchKernel(op->function, (unsigned)blocks, 1, 1, op->threads, 1, 1,
                                            op->smem_bytes, stream, params, NULL);
  return r == CUDA_SUCCESS ? MKC_OK : launch_failed(op, r, stream, err);
}

/* At exit the driver may have gone first, and every call answers CUDA_ERROR_DEINITIALIZED; there is
 * nothing left to free then. In a forked child, which may not call CUDA, nothing is called. */
static void cuda_unload(struct loaded *op) {
  if (!op) return;
  const struct driver *cu;
  struct error ignored = {0};
  if (driver_open(&cu, &ignored) == MKC_OK) {
    if (op->library) cu->cuLibraryUnload(op->library);
    if (op->context) cu->cuDevicePrimaryCtxRelease(op->device);
  }
  error_finish(&ignored);
  alloc_free(op->allocator, op);
}

const struct backend cuda_backend = {"cuda", cuda_load, cuda_launch, cuda_unload};
