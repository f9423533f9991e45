/* SPDX-License-Identifier: MIT
 * op_sweep.c - runs ops over lengths, head sizes, head counts, layouts and states on a device and
 * compares them with the float64 reference.
 *
 *   op_sweep [cpu|cuda:N] [--full]
 *
 * Every array lies in a buffer whose gaps and ends are poisoned with NaN: a stray read spoils the
 * result, a stray write is seen. Outputs start poisoned. Each op runs twice and must give the same
 * bits. Prints a line a case and, last, `N passed, N failed`.
 */
#include "base/arena.h"
#include "cli/number.h"
#include "driver.h"
#include "gen.h"
#include "ir.h"
#include "maskc.h"
#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum layout { CONTIGUOUS, HEAD_FIRST, PADDED, NLAYOUTS };
static const char *const layout_names[] = {"[B,T,H,d]", "[B,H,T,d]", "padded"};

struct sweep_case {
  const char *spec;
  int64_t B, T, H, qk_heads;
  int dk, dv;
  enum layout layout;
  const char *arch; /* NULL: the device's own */
  bool state;       /* h0 and ht */
  mkc_dtype dtype;
  int chunk, align; /* 0: the planner's choice, what the sizes allow */
  int gates;        /* 0: as drawn; 1: with resets: -inf, -1e4 and 0 */
};

struct side { /* an array on the host, and where the device sees it */
  mkc_arg_info info;
  int64_t dims[4], stride[4]; /* B T H d; 0 sizes where there is no such dimension */
  int ndim;
  size_t bytes, first; /* of the buffer; element 0 */
  char *host;
  void *device;
  double *values; /* logical order, as rounded */
  size_t count;
};

enum { MARGIN = 256 }; /* poisoned elements before and after an array */

static const struct driver *cu; /* NULL: the CPU device */

static void die(const char *what, const char *why) {
  fprintf(stderr, "op_sweep: %s: %s\n", what, why);
  exit(4);
}

static void *must(void *p) {
  if (!p) die("malloc", "out of memory");
  return p;
}

static size_t element_size(mkc_dtype t) {
  return t == MKC_F32 ? 4 : 2;
}

static double get(const struct side *s, size_t at) {
  if (s->info.dtype == MKC_F32) return ((const float *)(const void *)s->host)[at];
  const uint16_t half = ((const uint16_t *)(const void *)s->host)[at];
  return s->info.dtype == MKC_BF16 ? bf16_to_float(half) : fp16_to_float(half);
}

static void put(struct side *s, size_t at, double x) {
  if (s->info.dtype == MKC_F32)
    ((float *)(void *)s->host)[at] = (float)x;
  else
    ((uint16_t *)(void *)s->host)[at] =
        s->info.dtype == MKC_BF16 ? bf16_from_float((float)x) : fp16_from_float((float)x);
}

/* ---- arrays ---- */

/* Sizes by axes letter; strides by layout. Only token-major arrays have a layout. */
static void lay_out(struct side *s, const struct sweep_case *c, int64_t heads) {
  s->ndim = (int)strlen(s->info.axes);
  s->count = 1;
  for (int i = 0; i < s->ndim; i++) {
    const char axis = s->info.axes[i];
    s->dims[i] = axis == 'B'   ? c->B
                 : axis == 'T' ? c->T
                 : axis == 'H' ? heads
                 : axis == 'k' ? c->dk
                               : c->dv;
    s->count *= (size_t)s->dims[i];
  }
  const bool tokens = strchr(s->info.axes, 'T') != NULL;
  /* a pad that keeps the alignment of the case */
  const int64_t unit = c->align ? c->align / 2 : 8;
  const int64_t d = s->ndim == 4 ? s->dims[3] : 1, pad = s->ndim == 4 ? 3 * unit : 3;
  int64_t step = 1;
  for (int i = s->ndim - 1; i >= 0; i--) {
    s->stride[i] = step;
    step *= s->dims[i];
    if (tokens && c->layout == PADDED && i == (s->ndim == 4 ? 2 : 1)) step += pad;
  }
  if (tokens && c->layout == HEAD_FIRST) {
    s->stride[1] = d;
    s->stride[2] = d * c->T;
  }
  s->first = MARGIN;
  s->bytes = (MARGIN + (size_t)(s->stride[0] * s->dims[0]) + MARGIN) * element_size(s->info.dtype);
}

static size_t position(const struct side *s, size_t index) {
  size_t at = s->first;
  for (int i = s->ndim - 1; i >= 0; i--) {
    at += (size_t)(s->stride[i] * (int64_t)(index % (size_t)s->dims[i]));
    index /= (size_t)s->dims[i];
  }
  return at;
}

static void poison(struct side *s) {
  memset(s->host, 0xff, s->bytes);
}

static void upload(struct side *s) {
  if (cu) cu->cuMemcpyHtoD((CUdeviceptr)(uintptr_t)s->device, s->host, s->bytes);
}

static void download(struct side *s) {
  if (cu) cu->cuMemcpyDtoH(s->host, (CUdeviceptr)(uintptr_t)s->device, s->bytes);
}

static void allocate(struct side *s) {
  s->host = must(aligned_alloc(64, (s->bytes + 63) / 64 * 64));
  s->values = must(calloc(s->count, sizeof(double)));
  s->device = s->host;
  if (cu) {
    CUdeviceptr p;
    if (cu->cuMemAlloc(&p, s->bytes)) die("cuMemAlloc", "failed");
    s->device = (void *)(uintptr_t)p;
  }
  poison(s);
}

static void release(struct side *s) {
  if (cu && s->device) cu->cuMemFree((CUdeviceptr)(uintptr_t)s->device);
  free(s->host);
  free(s->values);
}

/* Draws an input, stores it as rounded and keeps the rounded values. */
static void fill(struct side *s, const struct leaf *leaf, const struct sweep_case *c,
                 uint64_t seed) {
  static const struct leaf state = {.name = "h0", .min = -INFINITY, .max = INFINITY};
  ref_draw(leaf ? leaf : &state, seed, s->values, s->count);
  const bool gate = leaf && leaf->max == 0 && !leaf->param;
  const double norm = leaf && leaf->axis == AXIS_DK ? 1 / sqrt((double)c->dk) : 1;
  for (size_t i = 0; i < s->count; i++) {
    if (c->gates && gate && i % 7 == 3)
      s->values[i] = i % 3 == 0 ? -INFINITY : i % 3 == 1 ? -1e4 : 0;
    put(s, position(s, i), s->values[i] * norm);
    s->values[i] = get(s, position(s, i));
  }
  upload(s);
}

/* Whether every byte that belongs to no element still has the poison. */
static bool gaps_intact(const struct side *s) {
  const size_t size = element_size(s->info.dtype), n = s->bytes / size;
  bool *mine = must(calloc(n, sizeof *mine));
  for (size_t i = 0; i < s->count; i++) mine[position(s, i)] = true;
  bool intact = true;
  for (size_t i = 0; i < s->bytes; i++)
    if (!mine[i / size] && (unsigned char)s->host[i] != 0xff) intact = false;
  free(mine);
  return intact;
}

static mkc_tensor tensor(const struct side *s, bool present) {
  mkc_tensor t = {.dtype = s->info.dtype, .ndim = s->ndim};
  if (present) t.data = (char *)s->device + s->first * element_size(s->info.dtype);
  memcpy(t.shape, s->dims, sizeof s->dims);
  memcpy(t.stride, s->stride, sizeof s->stride);
  return t;
}

/* ---- one case ---- */

struct outcome {
  double o, ht; /* relative L2 */
  bool same, intact;
};

static const struct leaf *leaf_named(const struct variant *v, const char *name) {
  for (int i = 0; i < v->nleaves; i++)
    if (!strcmp(v->leaves[i]->name, name)) return v->leaves[i];
  return NULL;
}

static int64_t heads_of(const struct sweep_case *c, const struct leaf *leaf) {
  return leaf && leaf->axis == AXIS_DK ? c->qk_heads : c->H;
}

static void run_reference(const struct variant *v, const struct sweep_case *c, struct side *sides,
                          int n, double *o, double *ht) {
  struct ref_array arrays[OP_MAX_ARRAYS] = {0};
  struct ref_call call = {.B = c->B,
                          .T = c->T,
                          .H = c->H,
                          .dk = c->dk,
                          .dv = c->dv,
                          .levels = 1,
                          .taps = 1,
                          .chunk = 64,
                          .arrays = arrays,
                          .o = o,
                          .ht = ht};
  for (int i = 0; i < n; i++) {
    const struct leaf *leaf = leaf_named(v, sides[i].info.name);
    if (leaf) arrays[leaf->index] = (struct ref_array){sides[i].values, heads_of(c, leaf)};
    if (c->state && !strcmp(sides[i].info.name, "h0")) call.h0 = sides[i].values;
  }
  struct error err = {0};
  if (ref_run(v, REF_STATE, &call, &err)) die("reference", error_text(&err));
}

static double compare(struct side *s, const double *expected) {
  double *actual = must(calloc(s->count, sizeof(double)));
  for (size_t i = 0; i < s->count; i++) actual[i] = get(s, position(s, i));
  const double error = ref_relative_l2(actual, expected, s->count);
  free(actual);
  return error;
}

static void launch(mkc_op *op, struct side *sides, int n, const struct sweep_case *c) {
  mkc_tensor args[OP_MAX_ARRAYS];
  for (int i = 0; i < n; i++)
    args[i] =
        tensor(&sides[i], !sides[i].info.optional || (c->state && sides[i].info.axes[0] != 'C'));
  if (mkc_op_launch(op, args, n, NULL, 0, NULL)) die("launch", mkc_last_error());
  if (cu && cu->cuCtxSynchronize()) die("launch", "the kernel failed");
}

static void run_twice(mkc_op *op, struct side *sides, int n, const struct sweep_case *c,
                      struct outcome *ret) {
  char *once[OP_MAX_ARRAYS] = {0};
  ret->same = ret->intact = true;
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < n; i++)
      if (sides[i].info.output) poison(&sides[i]), upload(&sides[i]);
    launch(op, sides, n, c);
    for (int i = 0; i < n; i++) {
      struct side *s = &sides[i];
      if (!s->info.output) continue;
      download(s);
      ret->intact &= gaps_intact(s);
      if (round == 0)
        once[i] = memcpy(must(malloc(s->bytes)), s->host, s->bytes);
      else
        ret->same &= !memcmp(once[i], s->host, s->bytes);
    }
  }
  for (int i = 0; i < n; i++) free(once[i]);
}

static void run_case(const struct variant *v, mkc_op *op, const struct sweep_case *c,
                     struct outcome *ret) {
  struct side sides[OP_MAX_ARRAYS] = {0};
  const int n = mkc_op_arg_count(op);
  for (int i = 0; i < n; i++) {
    struct side *s = &sides[i];
    mkc_op_arg_info(op, i, &s->info);
    const struct leaf *leaf = leaf_named(v, s->info.name);
    lay_out(s, c, heads_of(c, leaf));
    allocate(s);
    if (!s->info.output) fill(s, leaf, c, 1000u * (uint64_t)c->T + (uint64_t)i);
  }
  const size_t no = (size_t)(c->B * c->T * c->H) * (size_t)c->dv;
  const size_t nht = (size_t)(c->B * c->H) * (size_t)c->dk * (size_t)c->dv;
  double *o = must(calloc(no, sizeof *o)), *ht = must(calloc(nht, sizeof *ht));
  run_reference(v, c, sides, n, o, ht);
  run_twice(op, sides, n, c, ret);
  ret->o = compare(&sides[mkc_op_arg_index(op, "o")], o);
  ret->ht = c->state ? compare(&sides[mkc_op_arg_index(op, "ht")], ht) : 0;
  for (int i = 0; i < n; i++) release(&sides[i]);
  free(o);
  free(ht);
}

/* ---- the sweep ---- */

static int passed, failed;
static double worst_o, worst_ht;

static mkc_op *make_op(mkc_context *ctx, const char *device, const struct sweep_case *c) {
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_path = c->spec;
  options.device = device;
  options.arch = c->arch;
  options.dtype = c->dtype;
  options.dk = c->dk;
  options.dv = c->dv;
  options.chunk = c->chunk;
  options.align = c->align;
  mkc_op *op;
  if (mkc_op_create(ctx, &options, &op)) die(c->spec, mkc_last_error());
  if (mkc_op_prepare(op)) die(c->spec, mkc_last_error());
  return op;
}

static void try_case(mkc_context *ctx, const char *device, const struct sweep_case *c) {
  struct arena a;
  jmp_buf oom;
  arena_init(&a, &oom);
  if (setjmp(oom)) die("reference", "out of memory");
  char name[80];
  snprintf(name, sizeof name, "specs/%s.lua", c->spec);
  const struct embedded_file *f = embedded_find(name);
  const struct variant *v;
  struct error err = {0};
  if (!f || spec_load(name, f->data, f->len, &a, &v, &err)) die(name, error_text(&err));
  mkc_op *op = make_op(ctx, device, c);
  struct outcome r;
  run_case(v, op, c, &r);
  const bool bf16 = c->dtype == MKC_BF16;
  const bool ok = r.o <= (bf16 ? 5e-3 : 1e-3) && r.ht <= (bf16 ? 3e-3 : 1e-3) && r.same && r.intact;
  *(ok ? &passed : &failed) += 1;
  if (r.o > worst_o) worst_o = r.o;
  if (r.ht > worst_ht) worst_ht = r.ht;
  printf(
      "%-4s %-17s %s B=%d T=%-5d H=%d/%d %d/%d chunk %d align %d %-9s %s%s  o %.2e  ht %.2e%s%s\n",
      ok ? "ok" : "FAIL", c->spec, bf16 ? "bf16" : "fp16", (int)c->B, (int)c->T, (int)c->qk_heads,
      (int)c->H, c->dk, c->dv, c->chunk, c->align, layout_names[c->layout],
      c->state ? "state" : "-    ", c->gates ? " resets" : "", r.o, r.ht,
      r.same ? "" : "  NOT THE SAME BITS", r.intact ? "" : "  STRAY WRITE");
  fflush(stdout);
  mkc_op_destroy(op);
  arena_finish(&a);
}

static void sweep(mkc_context *ctx, const char *device, bool full) {
  static const char *const specs[] = {"linear_attention", "retnet",      "lightning2",
                                      "simple_gla",       "mamba2_core", "mamba2"};
  static const int sizes[][2] = {{64, 64}, {128, 128}, {60, 100}, {192, 20}, {100, 256}};
  static const int chunks[] = {0, 16, 0, 32, 64, 0, 128}, aligns[] = {0, 0, 4, 0, 2};
  static const int64_t lengths[] = {1, 63, 64, 65, 127, 128, 200, 257, 1024, 4099};
  const int nlengths = full ? 10 : 7;
  int k = 0;
  for (int s = 0; s < (int)(sizeof specs / sizeof *specs); s++)
    for (int d = 0; d < 5; d++)
      for (int t = 0; t < nlengths; t++, k++) {
        if (!full && (k + s) % 4 != 0) continue; /* a covering sample */
        struct sweep_case c = {.spec = specs[s],
                               .dtype = MKC_BF16,
                               .dk = sizes[d][0],
                               .dv = sizes[d][1],
                               .T = lengths[t]};
        c.B = 1 + k % 2;
        c.H = full ? 4 : 2;
        c.qk_heads = k % 3 == 1 ? 1 : c.H;
        c.layout = (enum layout)(k % NLAYOUTS);
        c.state = k % 4 != 1;
        c.gates = k % 2;
        c.chunk = d < 3 ? chunks[k % 7] : 0;
        c.align = aligns[k % 5];
        if (k % 5 == 4) c.dtype = MKC_F16;
        try_case(ctx, device, &c);
      }
}

/* Plans of other cards, which the CPU device runs as well: split heads, tiles of 32 channels. */
static void sweep_archs(mkc_context *ctx, const char *device) {
  static const struct sweep_case cases[] = {
      {.spec = "simple_gla", .arch = "sm_86", .dk = 128, .dv = 128, .gates = 1},
      {.spec = "retnet", .arch = "sm_120", .dk = 128, .dv = 128},
      {.spec = "mamba2", .arch = "sm_86", .dk = 128, .dv = 64},
      {.spec = "mamba2", .arch = "sm_89", .dk = 128, .dv = 128},
      {.spec = "mamba2_core", .arch = "sm_90a", .dk = 64, .dv = 128},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct sweep_case c = cases[i];
    c.dtype = i % 2 ? MKC_F16 : MKC_BF16;
    c.B = 1;
    c.T = 150;
    c.H = 2;
    c.qk_heads = 1;
    c.state = true;
    try_case(ctx, device, &c);
  }
}

static void open_cuda(const char *device) {
  struct error err = {0};
  CUdevice gpu;
  CUcontext context;
  if (driver_open(&cu, &err)) die(device, error_text(&err));
  if (cu->cuDeviceGet(&gpu, atoi(device + 5)) || cu->cuDevicePrimaryCtxRetain(&context, gpu) ||
      cu->cuCtxSetCurrent(context))
    die(device, "cannot be opened");
}

int main(int argc, char **argv) {
  const char *device = "cpu";
  bool full = false;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--full"))
      full = true;
    else
      device = argv[i];
  }
  if (!strncmp(device, "cuda:", 5)) open_cuda(device);
  mkc_context *ctx;
  if (mkc_context_create(NULL, &ctx)) die("context", mkc_last_error());
  sweep(ctx, device, full);
  if (!cu) sweep_archs(ctx, device);
  mkc_context_destroy(ctx);
  printf("worst o %.2e, worst ht %.2e on %s\n", worst_o, worst_ht, device);
  printf("%d passed, %d failed\n", passed, failed);
  return failed ? 5 : 0;
}
