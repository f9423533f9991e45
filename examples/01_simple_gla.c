/* SPDX-License-Identifier: MIT
 * 01_simple_gla.c - a host program: a spec becomes an op, the op runs on our arrays and our stream.
 *
 *   01_simple_gla [cpu | cuda:N] [SPEC]
 *
 * In: random q, k, v in bf16 and a random log gate g <= 0 in fp32. Out: o, compared with the
 * recurrence computed in double:
 *
 *   S <- exp(g_t) S + k_t v_t^T      o_t = dk^-0.5 q_t^T S
 *
 * Exits 0 when the relative L2 error is below 5e-3. Only maskc.h is needed: for a GPU the program
 * opens libcuda itself, where a real host would include cuda.h or hold pointers from PyTorch.
 */
#include "maskc.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 200, H = 4, DK = 64, DV = 64, MAX_ARRAYS = 8 };
static const double tolerance = 5e-3;

static void die(const char *what, const char *why) {
  fprintf(stderr, "01_simple_gla: %s: %s\n", what, why);
  exit(1);
}

static void check(mkc_status status, const char *what) {
  if (status == MKC_OK) return;
  fprintf(stderr, "01_simple_gla: %s: %s\n", what, mkc_last_error());
  exit((int)status / 1000);
}

/* ---- the device: memory and a stream, of the driver or of the host ---- */

struct device {
  void *libcuda; /* NULL on the CPU device, which works on the host's memory */
  int cu_device;
  void *stream;
  int (*alloc)(uint64_t *ret, size_t bytes);
  int (*release)(uint64_t p);
  int (*upload)(uint64_t to, const void *from, size_t bytes);
  int (*download)(void *to, uint64_t from, size_t bytes);
};

/* dlsym's result as a function pointer. C has no cast for it; POSIX promises that this works. */
static void find(void *lib, const char *name, void *ret_function) {
  void *p = dlsym(lib, name);
  if (!p) die(name, "not in libcuda");
  memcpy(ret_function, &p, sizeof p);
}

static void cuda(int status, const char *what) {
  char text[32];
  snprintf(text, sizeof text, "CUDA error %d", status);
  if (status != 0) die(what, text);
}

/* The primary context is the one that PyTorch and the CUDA runtime use, and maskc with them. */
static void device_open_cuda(struct device *d, int ordinal) {
  int (*init)(unsigned), (*get)(int *, int), (*retain)(void **, int), (*set_current)(void *);
  int (*create_stream)(void **, unsigned);
  d->libcuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!d->libcuda) die("no CUDA driver", dlerror());
  find(d->libcuda, "cuInit", &init);
  find(d->libcuda, "cuDeviceGet", &get);
  find(d->libcuda, "cuDevicePrimaryCtxRetain", &retain);
  find(d->libcuda, "cuCtxSetCurrent", &set_current);
  find(d->libcuda, "cuStreamCreate", &create_stream);
  find(d->libcuda, "cuMemAlloc_v2", &d->alloc);
  find(d->libcuda, "cuMemFree_v2", &d->release);
  find(d->libcuda, "cuMemcpyHtoD_v2", &d->upload);
  find(d->libcuda, "cuMemcpyDtoH_v2", &d->download);

  void *context = NULL;
  cuda(init(0), "cuInit");
  cuda(get(&d->cu_device, ordinal), "cuDeviceGet");
  cuda(retain(&context, d->cu_device), "cuDevicePrimaryCtxRetain");
  cuda(set_current(context), "cuCtxSetCurrent");
  cuda(create_stream(&d->stream, 1 /* CU_STREAM_NON_BLOCKING */), "cuStreamCreate");
}

static void device_open(struct device *d, const char *name) {
  *d = (struct device){0};
  if (strncmp(name, "cuda:", 5) == 0) device_open_cuda(d, atoi(name + 5));
}

static void *device_alloc(const struct device *d, size_t bytes) {
  uint64_t p = 0;
  if (d->libcuda) cuda(d->alloc(&p, bytes), "cuMemAlloc");
  void *memory = d->libcuda ? (void *)(uintptr_t)p : malloc(bytes);
  if (!memory) die("malloc", "out of memory");
  return memory;
}

static void device_free(const struct device *d, void *p) {
  if (d->libcuda)
    cuda(d->release((uint64_t)(uintptr_t)p), "cuMemFree");
  else
    free(p);
}

static void device_upload(const struct device *d, void *to, const void *from, size_t bytes) {
  if (d->libcuda)
    cuda(d->upload((uint64_t)(uintptr_t)to, from, bytes), "cuMemcpyHtoD");
  else
    memcpy(to, from, bytes);
}

static void device_download(const struct device *d, void *to, const void *from, size_t bytes) {
  if (d->libcuda)
    cuda(d->download(to, (uint64_t)(uintptr_t)from, bytes), "cuMemcpyDtoH");
  else
    memcpy(to, from, bytes);
}

static void device_synchronize(const struct device *d) {
  if (!d->libcuda) return; /* a launch on the CPU device returns when it is done */
  int (*synchronize)(void *);
  find(d->libcuda, "cuStreamSynchronize", &synchronize);
  cuda(synchronize(d->stream), "cuStreamSynchronize");
}

static void device_close(struct device *d) {
  if (!d->libcuda) return;
  int (*destroy_stream)(void *), (*release)(int);
  find(d->libcuda, "cuStreamDestroy_v2", &destroy_stream);
  find(d->libcuda, "cuDevicePrimaryCtxRelease_v2", &release);
  cuda(destroy_stream(d->stream), "cuStreamDestroy");
  cuda(release(d->cu_device), "cuDevicePrimaryCtxRelease");
}

/* ---- arrays ---- */

/* Rounds to the nearest bf16, the upper half of a float; ties to even. No NaN comes here. */
static uint16_t to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static float from_bf16(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* An array on the host, as the floats that the device sees, and its copy on the device. */
struct array {
  mkc_arg_info info;
  mkc_tensor tensor;
  size_t n;
  float *values;
};

static size_t element_size(mkc_dtype dtype) {
  return dtype == MKC_F32 ? 4 : 2;
}

/* The lengths follow from the axes that the op reports: "BTHk" is [B,T,H,dk]. C order. */
static void array_shape(struct array *a) {
  a->tensor.dtype = a->info.dtype;
  a->tensor.ndim = (int)strlen(a->info.axes);
  a->n = 1;
  for (int i = a->tensor.ndim - 1; i >= 0; i--) {
    const char axis = a->info.axes[i];
    const int length = axis == 'B' ? B : axis == 'T' ? T : axis == 'H' ? H : axis == 'k' ? DK : DV;
    a->tensor.shape[i] = length;
    a->tensor.stride[i] = (int64_t)a->n;
    a->n *= (size_t)length;
  }
}

static float uniform(uint64_t *seed) { /* in [-1,1) */
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (float)(int32_t)(*seed >> 32) / 2147483648.0f;
}

static void array_fill(struct array *a, const struct device *d, uint64_t *seed) {
  const size_t size = element_size(a->info.dtype);
  unsigned char *bytes = malloc(a->n * size);
  if (!bytes) die("malloc", "out of memory");
  for (size_t i = 0; i < a->n; i++) {
    float x = uniform(seed);
    if (strcmp(a->info.name, "g") == 0) x = 0.1f * (x - 1); /* a log gate: in [-0.2,0] */
    const uint16_t half = to_bf16(x);
    a->values[i] = size == 2 ? from_bf16(half) : x;
    memcpy(bytes + size * i, size == 2 ? (void *)&half : (void *)&x, size);
  }
  device_upload(d, a->tensor.data, bytes, a->n * size);
  free(bytes);
}

static void array_create(struct array *a, const mkc_op *op, int index, const struct device *d,
                         uint64_t *seed) {
  *a = (struct array){.info = MKC_ARG_INFO_INIT};
  check(mkc_op_arg_info(op, index, &a->info), "mkc_op_arg_info");
  array_shape(a);
  if (a->info.optional) return; /* h0 and ht: data NULL leaves them out */
  a->values = calloc(a->n, sizeof *a->values);
  a->tensor.data = device_alloc(d, a->n * element_size(a->info.dtype));
  if (!a->values) die("calloc", "out of memory");
  if (!a->info.output) array_fill(a, d, seed);
}

static void array_download(struct array *a, const struct device *d) {
  uint16_t *halves = malloc(a->n * sizeof *halves);
  if (!halves) die("malloc", "out of memory");
  device_download(d, halves, a->tensor.data, a->n * sizeof *halves);
  for (size_t i = 0; i < a->n; i++) a->values[i] = from_bf16(halves[i]);
  free(halves);
}

static void array_destroy(struct array *a, const struct device *d) {
  if (a->tensor.data) device_free(d, a->tensor.data);
  free(a->values);
}

static const float *values_of(const struct array *arrays, const mkc_op *op, const char *name) {
  const int i = mkc_op_arg_index(op, name);
  if (i < 0) die(name, "the op has no such array; this program knows simple_gla only");
  return arrays[i].values;
}

/* ---- the recurrence ---- */

struct sums {
  double difference, norm;
};

/* One head of one sequence: every token of it, in order. q and the rest are the whole arrays. */
static void compare_head(const float *q, const float *k, const float *v, const float *g,
                         const float *o, int b, int h, struct sums *sums) {
  static double S[DK][DV];
  memset(S, 0, sizeof S);
  for (int t = 0; t < T; t++) {
    const size_t row = ((size_t)b * T + (size_t)t) * H + (size_t)h; /* of [B,T,H,*] */
    const double decay = exp((double)g[row]);
    for (int j = 0; j < DV; j++) {
      double expected = 0;
      for (int i = 0; i < DK; i++) {
        S[i][j] = decay * S[i][j] + (double)k[row * DK + i] * (double)v[row * DV + j];
        expected += (double)q[row * DK + i] * S[i][j];
      }
      expected /= sqrt(DK);
      const double difference = (double)o[row * DV + j] - expected;
      sums->difference += difference * difference;
      sums->norm += expected * expected;
    }
  }
}

static double relative_error(const struct array *arrays, const mkc_op *op) {
  const float *q = values_of(arrays, op, "q"), *k = values_of(arrays, op, "k");
  const float *v = values_of(arrays, op, "v"), *g = values_of(arrays, op, "g");
  const float *o = values_of(arrays, op, "o");
  struct sums sums = {0, 0};
  for (int b = 0; b < B; b++) {
    for (int h = 0; h < H; h++) compare_head(q, k, v, g, o, b, h, &sums);
  }
  return sqrt(sums.difference / sums.norm);
}

/* ---- maskc ---- */

static mkc_op *op_open(mkc_context *context, const char *device, const char *spec) {
  mkc_op *op = NULL;
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_path = spec;
  options.device = device;
  options.dk = DK;
  options.dv = DV;
  check(mkc_op_create(context, &options, &op), "mkc_op_create"); /* spec -> source: milliseconds */
  check(mkc_op_prepare(op), "mkc_op_prepare"); /* source -> loaded kernel: slow once, then cached */
  printf("plan: %s\n", mkc_op_plan(op));
  return op;
}

static void op_launch(const mkc_op *op, const struct array *arrays, int n, struct device *d) {
  mkc_tensor tensors[MAX_ARRAYS];
  for (int i = 0; i < n; i++) tensors[i] = arrays[i].tensor;
  size_t bytes = 0;
  check(mkc_op_workspace(op, tensors, n, &bytes), "mkc_op_workspace");
  void *workspace = bytes ? device_alloc(d, bytes) : NULL;
  check(mkc_op_launch(op, tensors, n, workspace, bytes, d->stream), "mkc_op_launch");
  device_synchronize(d);
  if (workspace) device_free(d, workspace);
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "cpu";
  struct device device;
  struct array arrays[MAX_ARRAYS];
  mkc_context *context = NULL;
  uint64_t seed = 1;

  device_open(&device, name);
  check(mkc_context_create(NULL, &context), "mkc_context_create");
  mkc_op *op = op_open(context, name, argc > 2 ? argv[2] : "simple_gla");
  const int n = mkc_op_arg_count(op);
  if (n > MAX_ARRAYS) die("too many arrays", "this program knows simple_gla only");
  for (int i = 0; i < n; i++) array_create(&arrays[i], op, i, &device, &seed);

  op_launch(op, arrays, n, &device);
  array_download(&arrays[mkc_op_arg_index(op, "o")], &device);
  const double error = relative_error(arrays, op);
  printf("%s: relative L2 error of o %.2e (tolerance %.0e)\n", name, error, tolerance);

  for (int i = 0; i < n; i++) array_destroy(&arrays[i], &device);
  mkc_op_destroy(op);
  mkc_context_destroy(context);
  device_close(&device);
  return error <= tolerance ? 0 : 5; /* NaN is not <= anything */
}
