/* SPDX-License-Identifier: MIT
 * conformance.c - runs every operation of the tile vocabulary on the CPU device and, where there is
 * one, on a GPU, and compares: the CPU device with what is expected, the GPU with the CPU device.
 *
 *   conformance [--device N] [--record FILE | --against FILE]
 *
 *   --record FILE   writes what the GPU gave
 *   --against FILE  compares with such a file instead of a GPU
 *
 * Exit status: 0 all conform, 1 some do not, 2 usage, 3 something is missing.
 * The kernels are read from $MKC_SOURCE_ROOT/tests/conformance (default: the current folder's).
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../gen/gen.h"
#include "../../runtime/base/buf.h"
#include "../../runtime/cpu/compile.h"
#include "../../runtime/cpu/module.h"
#include "../../runtime/device_info.h"
#include "../../runtime/driver.h"
#include "../../runtime/nvrtc.h"
#include "ops.h"

static const char *const files[] = {"pointwise.k.c", "threads.k.c", "memory.k.c", "matrix.k.c"};
enum { NFILES = sizeof files / sizeof files[0] };

struct suite {
  struct module *cpu[NFILES];
  const struct driver *cu; /* NULL: no GPU */
  CUlibrary gpu[NFILES];
  CUdeviceptr in, out;
  FILE *record, *against;
};

struct conformance_args {
  const void *in;
  void *out;
  long long n;
};

static int file_index(const char *name) {
  int i = 0;
  while (strcmp(files[i], name) != 0) i++;
  return i;
}

/* ---- sources ---- */

static mkc_status read_kernels(const char *name, struct buf *ret, struct error *err) {
  const char *root = getenv("MKC_SOURCE_ROOT");
  char path[PROCESS_PATH_MAX];
  snprintf(path, sizeof path, "%s/tests/conformance/%s", root ? root : ".", name);
  buf_printf(ret, "#line 1 \"%s\"\n", name);
  return file_read(path, ret, err);
}

static mkc_status compile_for_cpu(const char *name, struct module **ret, struct error *err) {
  struct buf source = {0}, object = {0};
  buf_puts(&source, "#include \"tile_host.h\"\n");
  mkc_status status = read_kernels(name, &source, err);
  const struct embedded_file *header = embedded_find("templates/tile_host.h");
  const struct host_job job = {buf_text(&source), header ? header->data : "", name, false};
  if (!status) status = host_compile(&job, &object, err);
  if (!status) status = module_load(object.data, object.len, false, ret, err);
  buf_finish(&source);
  buf_finish(&object);
  return status;
}

static mkc_status compile_for_gpu(const char *name, const char *arch, const struct nvrtc *nvrtc,
                                  const struct driver *cu, CUlibrary *ret, struct error *err) {
  struct buf source = {0};
  const struct embedded_file *header = embedded_find("templates/tile_cuda.h");
  buf_puts(&source, header ? header->data : "");
  mkc_status status = read_kernels(name, &source, err);
  struct nvrtc_result cubin = {0};
  const struct nvrtc_job job = {.source = buf_text(&source), .arch = arch, .kind = NVRTC_CUBIN};
  if (!status) status = nvrtc_compile(nvrtc, &job, &cubin, err);
  if (!status) {
    const CUresult r = cu->cuLibraryLoadData(ret, cubin.code, NULL, NULL, 0, NULL, NULL, 0);
    if (r) status = driver_error(cu, r, "cuLibraryLoadData", err);
  }
  nvrtc_result_finish(&cubin);
  buf_finish(&source);
  return status;
}

/* ---- the GPU ---- */

static mkc_status gpu_start(struct suite *s, int device, struct error *err) {
  static struct nvrtc_location location;
  const struct driver *cu;
  struct nvrtc *nvrtc;
  struct gpu_info info;
  CUdevice d;
  CUcontext context;
  mkc_status status = driver_open(&cu, err);
  if (!status) status = gpu_info_get(device, &info, err);
  if (!status) status = nvrtc_locate(&location, err);
  if (!status) status = nvrtc_open(&location, &nvrtc, err);
  if (status) return status;
  CU_TRY(cu, err, cuDeviceGet, &d, device);
  CU_TRY(cu, err, cuDevicePrimaryCtxRetain, &context, d);
  CU_TRY(cu, err, cuCtxSetCurrent, context);
  CU_TRY(cu, err, cuMemAlloc, &s->in, 4 * MAX_WORDS);
  CU_TRY(cu, err, cuMemAlloc, &s->out, 4 * MAX_WORDS);
  for (int i = 0; i < NFILES && !status; i++)
    status = compile_for_gpu(files[i], info.arch, nvrtc, cu, &s->gpu[i], err);
  nvrtc_close(nvrtc);
  if (status) return status;
  printf("GPU %d: %s, %s\n", device, info.name, info.arch);
  s->cu = cu;
  return MKC_OK;
}

static mkc_status gpu_run(const struct suite *s, const struct op *op, int threads,
                          const unsigned *in, unsigned *out, struct error *err) {
  const struct driver *cu = s->cu;
  CUkernel kernel;
  CUfunction function;
  struct {
    CUdeviceptr in, out;
    long long n;
  } args = {s->in, s->out, op->out_words};
  void *params[] = {&args};
  CU_TRY(cu, err, cuLibraryGetKernel, &kernel, s->gpu[file_index(op->file)], op->kernel);
  CU_TRY(cu, err, cuKernelGetFunction, &function, kernel);
  CU_TRY(cu, err, cuMemcpyHtoD, s->in, in, 4 * (size_t)op->in_words);
  CU_TRY(cu, err, cuMemsetD8, s->out, 0xEE, 4 * (size_t)op->out_words);
  CU_TRY(cu, err, cuLaunchKernel, function, (unsigned)op->blocks, 1, 1, (unsigned)threads, 1, 1,
         (unsigned)op->smem_bytes, NULL, params, NULL);
  const CUresult r = cu->cuCtxSynchronize();
  if (r != CUDA_SUCCESS) return driver_error(cu, r, op->kernel, err);
  CU_TRY(cu, err, cuMemcpyDtoH, out, s->out, 4 * (size_t)op->out_words);
  return MKC_OK;
}

/* ---- recorded outputs: "NAME words", then the words in hex, eight a line ---- */

static void record_write(FILE *f, const struct op *op, const unsigned *out) {
  fprintf(f, "%s\n%d\n", op->name, op->out_words);
  for (int i = 0; i < op->out_words; i++) fprintf(f, "%08x%c", out[i], i % 8 == 7 ? '\n' : ' ');
}

/* False: the file does not go on with this op. */
static bool record_read(FILE *f, const struct op *op, unsigned *out) {
  char name[128];
  int words;
  if (!fgets(name, sizeof name, f) || fscanf(f, "%d", &words) != 1) return false;
  name[strcspn(name, "\n")] = 0;
  if (strcmp(name, op->name) != 0 || words != op->out_words) return false;
  for (int i = 0; i < words; i++)
    if (fscanf(f, "%8x", &out[i]) != 1) return false;
  while (fgetc(f) != '\n' && !feof(f)) continue;
  return true;
}

/* ---- distances ---- */

static float as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/* Floats in order as integers, -0 beside +0. */
static double rank(unsigned bits) {
  const double magnitude = bits & 0x7fffffffu;
  return bits >> 31 ? -magnitude : magnitude;
}

static double distance(enum compare compare, unsigned x, unsigned y) {
  if (x == y) return 0;
  if (compare == COMPARE_BITS) return INFINITY;
  const float a = as_float(x), b = as_float(y);
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? 0 : INFINITY;
  if (compare == COMPARE_ABSOLUTE) return fabs((double)a - b) * 0x1p23;
  return a == b ? INFINITY : fabs(rank(x) - rank(y)); /* equal: zeros of different signs */
}

static double largest(const struct op *op, const unsigned *x, const unsigned *y) {
  double max = 0;
  for (int i = 0; i < op->out_words; i++) max = fmax(max, distance(op->compare, x[i], y[i]));
  return max;
}

static void print_first(const struct op *op, const char *what, double limit, const unsigned *in,
                        const unsigned *x, const unsigned *y) {
  for (int i = 0; i < op->out_words; i++) {
    if (distance(op->compare, x[i], y[i]) <= limit) continue;
    printf("    word %d: %s gave %08x (%g), expected %08x (%g)", i, what, x[i], as_float(x[i]),
           y[i], as_float(y[i]));
    if (op->function) printf(", of %g and %g", as_float(in[i]), as_float(in[op->in_words / 2 + i]));
    printf("\n");
    return;
  }
}

/* ---- one op ---- */

struct result {
  unsigned in[MAX_WORDS], expected[MAX_WORDS], cpu[MAX_WORDS], gpu[MAX_WORDS];
};

static mkc_status run_everywhere(struct suite *s, const struct op *op, struct result *r,
                                 struct error *err) {
  static const struct launch_options late = {ASYNC_LATE, 0};
  const struct tile_kernel *kernel = module_kernel(s->cpu[file_index(op->file)], op->kernel);
  if (!kernel) return error_set(err, MKC_E_INTERNAL, "%s has no kernel %s", op->file, op->kernel);
  op->fill(r->in, op->in_words, op->lo, op->hi);
  op->expect(op, r->in, r->expected);
  memset(r->cpu, 0xEE, sizeof r->cpu);
  const struct conformance_args args = {r->in, r->cpu, op->out_words};
  mkc_status status = launch_run(kernel, &args, op->blocks, (size_t)op->smem_bytes, &late, err);
  if (!status && s->cu) status = gpu_run(s, op, kernel->threads, r->in, r->gpu, err);
  if (status) return status;
  if (s->record) record_write(s->record, op, r->gpu);
  if (s->against && !record_read(s->against, op, r->gpu))
    return error_set(err, MKC_E_FILE, "the recorded file does not go on with this op; record anew");
  return MKC_OK;
}

/* True: it conforms. */
static bool check(struct suite *s, const struct op *op) {
  static struct result r;
  struct error err = {0};
  if (run_everywhere(s, op, &r, &err)) {
    printf("%-32s FAILED: %s\n", op->name, error_text(&err));
    error_finish(&err);
    return false;
  }
  const double cpu = largest(op, r.cpu, r.expected);
  const bool has_gpu = s->cu || s->against, cpu_ok = cpu <= op->cpu_limit;
  const double gpu = has_gpu ? largest(op, r.gpu, r.cpu) : 0;
  const bool gpu_ok = gpu <= op->gpu_limit;
  char gpu_text[32] = "-";
  if (has_gpu) snprintf(gpu_text, sizeof gpu_text, "%g", gpu);
  printf("%-32s %10g %10s   %s\n", op->name, cpu, gpu_text, cpu_ok && gpu_ok ? "ok" : "WRONG");
  if (!cpu_ok) print_first(op, "the CPU device", op->cpu_limit, r.in, r.cpu, r.expected);
  if (!gpu_ok) print_first(op, "the GPU", op->gpu_limit, r.in, r.gpu, r.cpu);
  return cpu_ok && gpu_ok;
}

/* ---- main ---- */

static int usage(void) {
  fprintf(stderr, "usage: conformance [--device N] [--record FILE | --against FILE]\n");
  return 2;
}

static bool open_file(const char *path, const char *mode, FILE **ret) {
  *ret = fopen(path, mode);
  if (!*ret) perror(path);
  return *ret != NULL;
}

/* Exit status, or -1 to go on. */
static int read_arguments(struct suite *s, int argc, char **argv, int *ret_device) {
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    if (!strcmp(argv[i], "--device"))
      *ret_device = atoi(argv[i + 1]);
    else if (!strcmp(argv[i], "--record") && !s->against && !s->record) {
      if (!open_file(argv[i + 1], "w", &s->record)) return 3;
    } else if (!strcmp(argv[i], "--against") && !s->record && !s->against) {
      if (!open_file(argv[i + 1], "r", &s->against)) return 3;
    } else {
      return usage();
    }
  }
  return -1;
}

static int finish(struct suite *s, int wrong) {
  for (int i = 0; i < NFILES; i++) module_destroy(s->cpu[i]);
  if (s->against) fclose(s->against);
  if (s->record && fclose(s->record)) {
    perror("--record");
    return 3;
  }
  printf("%d of %d operations conform\n", nops - wrong, nops);
  return wrong != 0;
}

int main(int argc, char **argv) {
  static struct suite s;
  struct error err = {0};
  int device = 0, wrong = 0;
  const int status = read_arguments(&s, argc, argv, &device);
  if (status >= 0) return status;
  for (int i = 0; i < NFILES; i++) {
    if (!compile_for_cpu(files[i], &s.cpu[i], &err)) continue;
    fprintf(stderr, "conformance: %s\n", error_text(&err));
    return 3;
  }
  if (!s.against && gpu_start(&s, device, &err)) {
    printf("no GPU: %s\n", error_text(&err));
    /* A GPU that is there and fails is an error, and so is one that was asked for. */
    if (s.record || err.status != MKC_E_NO_DEVICE) return 3;
  }
  printf("%-32s %10s %10s\n", "", "CPU", s.against ? "recorded" : "GPU");
  printf("%-32s %10s %10s\n", "operation", "from exact", "from CPU");
  for (int i = 0; i < nops; i++) wrong += !check(&s, &ops[i]);
  error_finish(&err);
  return finish(&s, wrong);
}
