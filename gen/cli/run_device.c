/* SPDX-License-Identifier: MIT
 * run_device.c - the op of maskc run on a device: the first launch writes the outputs that are
 * kept, over memory filled with NaN; the others are timed.
 */
#define _XOPEN_SOURCE 700
#include "run.h"

#include "../../runtime/device_info.h"
#include "../../runtime/driver.h"

#include <stdlib.h>
#include <time.h>

enum { CUDA_REPEAT = 20, CUDA_WARM_UP = 3, COPY_REPEAT = 10 };

double clock_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static mkc_status from_library(mkc_status status, struct error *err) {
  return status ? error_set(err, status, "%s", mkc_last_error()) : MKC_OK;
}

static int compare_doubles(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *x, int n) {
  qsort(x, (size_t)n, sizeof *x, compare_doubles);
  return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* A contiguous tensor in the place that the op gives the array. */
static mkc_status set_tensor(const struct run *r, const struct run_array *x, void *data,
                             mkc_tensor *args, struct error *err) {
  const int index = mkc_op_arg_index(r->op, x->name);
  if (index < 0) return error_set(err, MKC_E_INTERNAL, "the op has no array '%s'", x->name);
  mkc_tensor *t = &args[index];
  *t = (mkc_tensor){.data = data, .dtype = x->dtype, .ndim = x->ndim};
  int64_t stride = 1;
  for (int d = x->ndim - 1; d >= 0; d--) {
    t->shape[d] = x->shape[d];
    t->stride[d] = stride;
    stride *= x->shape[d];
  }
  return MKC_OK;
}

/* ---- the CPU device ---- */

mkc_status run_on_cpu(struct run *r, struct error *err) {
  mkc_tensor args[64] = {{0}};
  const int nargs = mkc_op_arg_count(r->op);
  r->launches = (int)args_number(&r->cli->args, OPTION_REPEAT, 1);
  double *times = arena_array(&r->cli->arena, double, r->launches);
  for (int i = 0; i < r->narrays; i++) {
    const struct run_array *x = &r->arrays[i];
    if (!x->present || x->before) continue;
    const mkc_status status = set_tensor(r, x, x->packed, args, err);
    if (status) return status;
  }
  size_t bytes = 0;
  mkc_status status = mkc_op_workspace(r->op, args, nargs, &bytes);
  void *workspace = status || bytes == 0 ? NULL : malloc(bytes);
  if (!status && bytes && !workspace)
    return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory for the workspace");
  for (int i = 0; i < r->launches && !status; i++) {
    progress_show("running on the CPU device, %d of %d", i + 1, r->launches);
    run_reset_state(r);
    const double start = clock_ms();
    status = mkc_op_launch(r->op, args, nargs, workspace, bytes, NULL);
    times[i] = clock_ms() - start;
  }
  progress_clear();
  free(workspace);
  if (!status) r->time_ms = median(times, r->launches);
  return from_library(status, err);
}

/* ---- cuda ---- */

struct cuda {
  const struct driver *cu;
  CUdevice device;
  bool retained;
  CUstream stream;
  CUdeviceptr *memory; /* of each array of the run; the workspace last */
  int nmemory;
  mkc_tensor args[64];
  int nargs;
  size_t workspace_bytes;
  CUevent *events; /* launches + 1 */
  int nevents;
};

/* Starting the driver takes as long as it takes, with or without us: it has a clock of its own. */
mkc_status run_cuda_start(struct run *r, int gpu, struct error *err) {
  const double start = clock_ms();
  const struct driver *cu;
  struct gpu_info info;
  CUdevice device;
  CUcontext context;
  mkc_status status = driver_open(&cu, err);
  if (!status) status = gpu_info_get(gpu, &info, err);
  if (status) return status;
  CU_TRY(cu, err, cuDeviceGet, &device, gpu);
  CU_TRY(cu, err, cuDevicePrimaryCtxRetain, &context, device);
  r->cuda_started = true;
  r->driver_ms = clock_ms() - start;
  return MKC_OK;
}

void run_cuda_stop(int gpu) {
  struct error err = {0};
  const struct driver *cu;
  CUdevice device;
  if (!driver_open(&cu, &err) && cu->cuDeviceGet(&device, gpu) == CUDA_SUCCESS)
    cu->cuDevicePrimaryCtxRelease(device);
  error_finish(&err);
}

static mkc_status cuda_start(struct cuda *c, const struct run *r, int gpu, struct error *err) {
  CUcontext context;
  c->nmemory = r->narrays + 1;
  c->memory = arena_array(&r->cli->arena, CUdeviceptr, c->nmemory);
  const mkc_status status = driver_open(&c->cu, err);
  if (status) return status;
  CU_TRY(c->cu, err, cuDeviceGet, &c->device, gpu);
  CU_TRY(c->cu, err, cuDevicePrimaryCtxRetain, &context, c->device);
  c->retained = true;
  CU_TRY(c->cu, err, cuCtxSetCurrent, context);
  CU_TRY(c->cu, err, cuStreamCreate, &c->stream, CU_STREAM_NON_BLOCKING);
  return MKC_OK;
}

static void cuda_finish(struct cuda *c) {
  for (int i = 0; i < c->nmemory; i++)
    if (c->memory[i]) c->cu->cuMemFree(c->memory[i]);
  for (int i = 0; i < c->nevents; i++) c->cu->cuEventDestroy(c->events[i]);
  if (c->stream) c->cu->cuStreamDestroy(c->stream);
  if (c->retained) {
    c->cu->cuCtxSetCurrent(NULL);
    c->cu->cuDevicePrimaryCtxRelease(c->device);
  }
}

static mkc_status upload(struct cuda *c, struct run *r, struct error *err) {
  run_reset_state(r);
  c->nargs = mkc_op_arg_count(r->op);
  for (int i = 0; i < r->narrays; i++) {
    const struct run_array *x = &r->arrays[i];
    if (!x->present || x->before) continue;
    CU_TRY(c->cu, err, cuMemAlloc, &c->memory[i], x->bytes);
    CU_TRY(c->cu, err, cuMemcpyHtoD, c->memory[i], x->packed, x->bytes);
    const mkc_status status = set_tensor(r, x, (void *)(uintptr_t)c->memory[i], c->args, err);
    if (status) return status;
  }
  const mkc_status status = mkc_op_workspace(r->op, c->args, c->nargs, &c->workspace_bytes);
  if (status) return from_library(status, err);
  if (c->workspace_bytes)
    CU_TRY(c->cu, err, cuMemAlloc, &c->memory[r->narrays], c->workspace_bytes);
  CU_TRY(c->cu, err, cuStreamSynchronize, NULL);
  return MKC_OK;
}

static mkc_status cuda_launch(struct cuda *c, const struct run *r, struct error *err) {
  void *workspace = (void *)(uintptr_t)c->memory[r->narrays];
  return from_library(
      mkc_op_launch(r->op, c->args, c->nargs, workspace, c->workspace_bytes, c->stream), err);
}

static mkc_status download(struct cuda *c, const struct run *r, struct error *err) {
  CU_TRY(c->cu, err, cuStreamSynchronize, c->stream);
  for (int i = 0; i < r->narrays; i++) {
    const struct run_array *x = &r->arrays[i];
    if (x->output && x->present)
      CU_TRY(c->cu, err, cuMemcpyDtoH, x->packed, c->memory[i], x->bytes);
  }
  return MKC_OK;
}

/* What is timed: a launch of the op, or a copy of `bytes` between two buffers. */
struct timed {
  const struct run *run; /* NULL: the copy */
  CUdeviceptr to, from;
  size_t bytes;
};

static mkc_status timed_once(struct cuda *c, const struct timed *t, struct error *err) {
  if (t->run) return cuda_launch(c, t->run, err);
  CU_TRY(c->cu, err, cuMemcpyDtoDAsync, t->to, t->from, t->bytes, c->stream);
  return MKC_OK;
}

/* The median time of n calls, back to back on the stream, by the device's clock. */
static mkc_status time_calls(struct cuda *c, struct arena *a, const struct timed *t, int n,
                             double *ret_ms, struct error *err) {
  double *times = arena_array(a, double, n);
  mkc_status status = MKC_OK;
  for (int i = 0; i < CUDA_WARM_UP && !status; i++) status = timed_once(c, t, err);
  for (int i = 0; i < n && !status; i++) {
    CU_TRY(c->cu, err, cuEventRecord, c->events[i], c->stream);
    status = timed_once(c, t, err);
  }
  if (status) return status;
  CU_TRY(c->cu, err, cuEventRecord, c->events[n], c->stream);
  CU_TRY(c->cu, err, cuStreamSynchronize, c->stream);
  for (int i = 0; i < n; i++) {
    float ms;
    CU_TRY(c->cu, err, cuEventElapsedTime, &ms, c->events[i], c->events[i + 1]);
    times[i] = ms;
  }
  *ret_ms = median(times, n);
  return MKC_OK;
}

/* Bytes read and written a second by the largest copy that there is memory for, up to 1 GiB. */
static mkc_status measure_copy(struct cuda *c, struct arena *a, double *ret_gbs,
                               struct error *err) {
  CUdeviceptr from = 0, to = 0;
  size_t bytes = (size_t)1 << 30;
  for (; bytes >= (size_t)1 << 26; bytes /= 2) {
    if (c->cu->cuMemAlloc(&from, bytes) != CUDA_SUCCESS) continue;
    if (c->cu->cuMemAlloc(&to, bytes) == CUDA_SUCCESS) break;
    c->cu->cuMemFree(from);
    from = 0;
  }
  *ret_gbs = 0;
  if (!from || !to) return MKC_OK; /* no room: not measured */
  double ms = 0;
  const struct timed copy = {.to = to, .from = from, .bytes = bytes};
  mkc_status status = time_calls(c, a, &copy, COPY_REPEAT, &ms, err);
  if (!status) *ret_gbs = 2e-6 * (double)bytes / ms;
  c->cu->cuMemFree(from);
  c->cu->cuMemFree(to);
  return status;
}

static mkc_status make_events(struct cuda *c, struct arena *a, int n, struct error *err) {
  c->events = arena_array(a, CUevent, n);
  for (; c->nevents < n; c->nevents++)
    CU_TRY(c->cu, err, cuEventCreate, &c->events[c->nevents], CU_EVENT_DEFAULT);
  return MKC_OK;
}

static mkc_status cuda_steps(struct cuda *c, struct run *r, int gpu, struct error *err) {
  struct arena *a = &r->cli->arena;
  r->launches = (int)args_number(&r->cli->args, OPTION_REPEAT, CUDA_REPEAT);
  const int nevents = (r->launches > COPY_REPEAT ? r->launches : COPY_REPEAT) + 1;
  mkc_status status = cuda_start(c, r, gpu, err);
  progress_show("running on %s", r->device);
  if (!status) status = make_events(c, a, nevents, err);
  if (!status) status = upload(c, r, err);
  if (!status) status = cuda_launch(c, r, err);
  if (!status) status = download(c, r, err);
  const struct timed op = {.run = r};
  if (!status) status = time_calls(c, a, &op, r->launches, &r->time_ms, err);
  if (!status) status = measure_copy(c, a, &r->copy_gbs, err);
  progress_clear();
  return status;
}

mkc_status run_on_cuda(struct run *r, int gpu, struct error *err) {
  struct cuda *c = arena_new(&r->cli->arena, struct cuda);
  const mkc_status status = cuda_steps(c, r, gpu, err);
  if (c->cu) cuda_finish(c);
  return status;
}
