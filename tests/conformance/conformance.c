/* SPDX-License-Identifier: MIT
 * conformance.c - runs every operation of the tile vocabulary on the CPU device and, where there is
 * one, on a GPU, and compares: the CPU device with what is expected, the GPU with the CPU device.
 *
 *   conformance [--device N] [--record FILE | --against FILE]
 *
 *   --record FILE   writes what the GPU gave
 *   --against FILE  compares with such a file instead of a GPU; an op that the file does not have
 *                   is only compared with what is expected, and said to be not recorded
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
  FILE *record;
  const char *against; /* the recorded file's name, or NULL */
  struct buf recorded; /* and its text */
  int unrecorded;      /* ops that it does not have */
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
  const struct host_job job = {buf_text(&source), header ? header->data : "", name, MKC_CHECK_NONE};
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

/* ---- recorded outputs: a line NAME, a line with the number of words, then the words in hex, eight
 * a line ---- */

static void record_write(FILE *f, const struct op *op, const unsigned *out) {
  fprintf(f, "%s\n%d\n", op->name, op->out_words);
  for (int i = 0; i < op->out_words; i++) fprintf(f, "%08x%c", out[i], i % 8 == 7 ? '\n' : ' ');
}

struct recorded {
  char name[128];
  unsigned words[MAX_WORDS];
  int nwords;
};

/* The record at *at, which moves on to the next. False: it is none. */
static bool record_next(const char **at, struct recorded *ret) {
  int used = 0;
  if (sscanf(*at, "%127[^\n] %d%n", ret->name, &ret->nwords, &used) != 2) return false;
  if (ret->nwords < 1 || ret->nwords > MAX_WORDS) return false;
  for (int i = 0; i < ret->nwords; i++) {
    char *end;
    *at += used;
    ret->words[i] = (unsigned)strtoul(*at, &end, 16);
    used = (int)(end - *at);
    if (!used) return false;
  }
  *at += used;
  *at += strspn(*at, "\n");
  return true;
}

/* False: it is not there. */
static bool record_find(const struct suite *s, const struct op *op, struct recorded *ret) {
  const char *at = buf_text(&s->recorded);
  while (record_next(&at, ret))
    if (!strcmp(ret->name, op->name)) return true;
  return false;
}

/* A file must hold records to its end, and none that the suite would never look at. */
static mkc_status record_check(const struct suite *s, struct error *err) {
  static struct recorded r;
  const char *at = buf_text(&s->recorded);
  if (!*at) return error_set(err, MKC_E_FILE, "%s: empty", s->against);
  r.name[0] = 0;
  while (record_next(&at, &r)) {
    int i = 0;
    while (i < nops && strcmp(ops[i].name, r.name) != 0) i++;
    if (i == nops)
      return error_set(err, MKC_E_FILE, "%s: \"%s\" is recorded, but there is no such operation",
                       s->against, r.name);
    if (r.nwords != ops[i].out_words)
      return error_set(err, MKC_E_FILE,
                       "%s: %d words of \"%s\" are recorded, it gives %d; record anew", s->against,
                       r.nwords, r.name, ops[i].out_words);
  }
  if (!*at) return MKC_OK;
  return error_set(err, MKC_E_FILE, "%s: cut short or damaged, at or after \"%s\"", s->against,
                   r.name);
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
  bool has_gpu; /* or a recorded one's outputs */
};

static mkc_status run_everywhere(struct suite *s, const struct op *op, struct result *r,
                                 struct error *err) {
  static const struct launch_options late = {.async = ASYNC_LATE};
  const struct tile_kernel *kernel = module_kernel(s->cpu[file_index(op->file)], op->kernel);
  if (!kernel) return error_set(err, MKC_E_INTERNAL, "%s has no kernel %s", op->file, op->kernel);
  op->fill(r->in, op->in_words, op->lo, op->hi);
  op->expect(op, r->in, r->expected);
  memset(r->cpu, 0xEE, sizeof r->cpu);
  const struct conformance_args args = {r->in, r->cpu, op->out_words};
  mkc_status status = launch_run(kernel, &args, op->blocks, (size_t)op->smem_bytes, &late, err);
  if (!status && s->cu) status = gpu_run(s, op, kernel->threads, r->in, r->gpu, err);
  if (status) return status;
  r->has_gpu = s->cu != NULL;
  if (s->record) record_write(s->record, op, r->gpu);
  if (s->against) {
    static struct recorded recorded;
    r->has_gpu = record_find(s, op, &recorded);
    s->unrecorded += !r->has_gpu;
    memcpy(r->gpu, recorded.words, sizeof r->gpu);
  }
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
  const double gpu = r.has_gpu ? largest(op, r.gpu, r.cpu) : 0;
  const bool cpu_ok = cpu <= op->cpu_limit, gpu_ok = gpu <= op->gpu_limit;
  char gpu_text[32] = "-";
  if (r.has_gpu) snprintf(gpu_text, sizeof gpu_text, "%g", gpu);
  printf("%-32s %10g %10s   %s%s\n", op->name, cpu, gpu_text, cpu_ok && gpu_ok ? "ok" : "WRONG",
         s->against && !r.has_gpu ? ", not recorded" : "");
  if (!cpu_ok) print_first(op, "the CPU device", op->cpu_limit, r.in, r.cpu, r.expected);
  if (!gpu_ok) print_first(op, "the GPU", op->gpu_limit, r.in, r.gpu, r.cpu);
  return cpu_ok && gpu_ok;
}

/* ---- main ---- */

static int usage(void) {
  fprintf(stderr, "usage: conformance [--device N] [--record FILE | --against FILE]\n");
  return 2;
}

/* Exit status, or -1 to go on. */
static int read_arguments(struct suite *s, int argc, char **argv, int *ret_device) {
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    if (!strcmp(argv[i], "--device"))
      *ret_device = atoi(argv[i + 1]);
    else if (!strcmp(argv[i], "--record") && !s->against && !s->record) {
      s->record = fopen(argv[i + 1], "w");
      if (!s->record) {
        perror(argv[i + 1]);
        return 3;
      }
    } else if (!strcmp(argv[i], "--against") && !s->record && !s->against) {
      s->against = argv[i + 1];
    } else {
      return usage();
    }
  }
  return -1;
}

static int finish(struct suite *s, int wrong) {
  for (int i = 0; i < NFILES; i++) module_destroy(s->cpu[i]);
  buf_finish(&s->recorded);
  if (s->record && fclose(s->record)) {
    perror("--record");
    return 3;
  }
  printf("%d of %d operations conform", nops - wrong, nops);
  if (s->unrecorded)
    printf("; %d of them not recorded in %s, and so not compared with a GPU", s->unrecorded,
           s->against);
  printf("\n");
  return wrong != 0;
}

int main(int argc, char **argv) {
  static struct suite s;
  struct error err = {0};
  int device = 0, wrong = 0;
  const int status = read_arguments(&s, argc, argv, &device);
  if (status >= 0) return status;
  mkc_status missing = s.against ? file_read(s.against, &s.recorded, &err) : MKC_OK;
  if (s.against && !missing) missing = record_check(&s, &err);
  for (int i = 0; i < NFILES && !missing; i++) missing = compile_for_cpu(files[i], &s.cpu[i], &err);
  if (missing) {
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
