/* SPDX-License-Identifier: MIT
 * op_case.c - see op_case.h.
 */
#include "op_case.h"

#include "base/arena.h"
#include "cli/number.h"
#include "gen.h"
#include "ir.h"
#include "ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct side { /* an array on the host, and where the device sees it */
  mkc_arg_info info;
  int64_t dims[5], stride[5];
  int ndim;
  size_t bytes, first; /* of the buffer; element 0 */
  bool present;
  char *host;
  void *device;
  double *values; /* logical order, as rounded */
  size_t count;
};

/* A case while it runs. */
struct trial {
  const struct op_device *device;
  const struct op_case *c;
  const struct variant *v;
  mkc_op *op;
  struct side sides[OP_MAX_ARRAYS];
  int n;
  double *o, *ht, *nt; /* expected */
  int64_t *positions;
};

enum { MARGIN = 256 }; /* poisoned elements before and after an array */

static void *must(void *p) {
  if (p) return p;
  fprintf(stderr, "op_case: out of memory\n");
  exit(4);
}

static size_t element_size(mkc_dtype t) {
  return t == MKC_BF16 || t == MKC_F16 ? 2 : t == MKC_I64 ? 8 : 4;
}

static double get(const struct side *s, size_t at) {
  if (s->info.dtype == MKC_F32) return ((const float *)(const void *)s->host)[at];
  if (s->info.dtype == MKC_I64) return (double)((const int64_t *)(const void *)s->host)[at];
  const uint16_t half = ((const uint16_t *)(const void *)s->host)[at];
  return s->info.dtype == MKC_BF16 ? bf16_to_float(half) : fp16_to_float(half);
}

static void put(struct side *s, size_t at, double x) {
  if (s->info.dtype == MKC_F32)
    ((float *)(void *)s->host)[at] = (float)x;
  else if (s->info.dtype == MKC_I64)
    ((int64_t *)(void *)s->host)[at] = (int64_t)x;
  else
    ((uint16_t *)(void *)s->host)[at] =
        s->info.dtype == MKC_BF16 ? bf16_from_float((float)x) : fp16_from_float((float)x);
}

/* ---- arrays ---- */

static int64_t position_of(const struct op_case *c, int64_t sequence) {
  return c->position + 7 * sequence;
}

/* As many as the last token sees and the state after it has slots for. */
static int64_t levels_of(const struct op_case *c) {
  int64_t n = 1;
  for (int64_t x = position_of(c, c->B - 1) + c->T; x > 0; x >>= 1) n++;
  return n;
}

/* Sizes by axes letter; strides by layout. Only token-major arrays have a layout. */
static void lay_out(struct side *s, const struct op_case *c, int64_t heads) {
  s->ndim = (int)strlen(s->info.axes);
  s->count = 1;
  for (int i = 0; i < s->ndim; i++) {
    const char axis = s->info.axes[i];
    s->dims[i] = axis == 'B' || axis == 'N' ? c->B /* a slot a sequence */
                 : axis == 'T'              ? c->T
                 : axis == 'H'              ? heads
                 : axis == 'L'              ? levels_of(c)
                 : axis == 'S'              ? levels_of(c) - 1
                 : axis == 'k'              ? c->dk
                                            : c->dv;
    s->count *= (size_t)s->dims[i];
  }
  const bool tokens = strchr(s->info.axes, 'T') != NULL;
  /* a pad that keeps the alignment of the case */
  const int64_t size = (int64_t)element_size(c->dtype), align = c->align ? c->align : 16;
  const int64_t unit = align > size ? align / size : 1;
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

static size_t place(const struct side *s, size_t index) {
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

static void upload(const struct driver *cu, struct side *s) {
  if (cu) cu->cuMemcpyHtoD((CUdeviceptr)(uintptr_t)s->device, s->host, s->bytes);
}

static void download(const struct driver *cu, struct side *s) {
  if (cu) cu->cuMemcpyDtoH(s->host, (CUdeviceptr)(uintptr_t)s->device, s->bytes);
}

static void allocate(const struct driver *cu, struct side *s) {
  s->host = must(aligned_alloc(64, (s->bytes + 63) / 64 * 64));
  s->values = must(calloc(s->count, sizeof(double)));
  s->device = s->host;
  if (cu) {
    CUdeviceptr p = 0;
    if (cu->cuMemAlloc(&p, s->bytes)) p = 0;
    s->device = must((void *)(uintptr_t)p);
  }
  poison(s);
}

static void release(const struct driver *cu, struct side *s) {
  if (cu && s->device) cu->cuMemFree((CUdeviceptr)(uintptr_t)s->device);
  free(s->host);
  free(s->values);
}

static const struct leaf *leaf_named(const struct variant *v, const char *name) {
  for (int i = 0; i < v->nleaves; i++)
    if (!strcmp(v->leaves[i]->name, name)) return v->leaves[i];
  return NULL;
}

/* leaf: NULL for h0, o and ht. */
static int64_t heads_of(const struct op_case *c, const struct leaf *leaf) {
  const int64_t heads = !leaf                   ? 0
                        : leaf->axis == AXIS_DK ? c->qk_heads
                        : leaf->axis == AXIS_DV ? c->v_heads
                                                : c->scalar_heads;
  return heads ? heads : c->H;
}

/* Slots that are not live so many tokens after the position: the array and its values are x there.
 */
static void set_dead_slots(struct side *s, const struct op_case *c, int64_t tokens, double x) {
  if (s->info.axes[1] != 'S') return;
  const size_t slots = (size_t)s->dims[1], matrices = s->count / (size_t)s->dims[0] / slots;
  for (size_t i = 0; i < s->count; i++) {
    const size_t slot = i / matrices % slots, sequence = i / matrices / slots;
    if ((position_of(c, (int64_t)sequence) + tokens) >> slot & 1) continue;
    put(s, place(s, i), x);
    s->values[i] = x;
  }
}

/* As before a launch: an output has the poison, a state the values that were drawn. */
static void reset(const struct driver *cu, struct side *s) {
  poison(s);
  for (size_t i = 0; i < s->count && s->info.in_place; i++) put(s, place(s, i), s->values[i]);
  upload(cu, s);
}

/* Draws an input, stores it as rounded and keeps the rounded values. */
static void fill(struct side *s, const struct leaf *leaf, const struct op_case *c, uint64_t seed) {
  static const struct leaf state = {.name = "h0", .min = -INFINITY, .max = INFINITY};
  /* what rows are divided by */
  static const struct leaf column = {.name = "n0", .min = 0, .max = INFINITY};
  const bool divides = !strcmp(s->info.name, "n0") || !strcmp(s->info.name, "state_n");
  ref_draw(leaf ? leaf : divides ? &column : &state, seed, s->values, s->count);
  for (size_t i = 0; i < s->count && s->info.dtype == MKC_I64; i++)
    s->values[i] = (double)position_of(c, (int64_t)i);
  const bool gate = leaf && leaf->max == 0 && !leaf->param;
  const double norm = leaf && leaf->axis == AXIS_DK && !leaf->fp32 ? 1 / sqrt((double)c->dk) : 1;
  for (size_t i = 0; i < s->count; i++) {
    s->values[i] *= norm;
    if (c->gates && gate && i % 7 == 3)
      s->values[i] = i % 3 == 0 ? -INFINITY : i % 3 == 1 ? -1e4 : 0;
  }
  if (c->set) c->set(c, s->info.name, s->values, s->count);
  for (size_t i = 0; i < s->count; i++) {
    put(s, place(s, i), s->values[i]);
    s->values[i] = get(s, place(s, i));
  }
}

/* Whether every byte that belongs to no element still has the poison. */
static bool gaps_intact(const struct side *s) {
  const size_t size = element_size(s->info.dtype), n = s->bytes / size;
  bool *mine = must(calloc(n, sizeof *mine));
  for (size_t i = 0; i < s->count; i++) mine[place(s, i)] = true;
  bool intact = true;
  for (size_t i = 0; i < s->bytes; i++)
    if (!mine[i / size] && (unsigned char)s->host[i] != 0xff) intact = false;
  free(mine);
  return intact;
}

static mkc_tensor tensor(const struct side *s) {
  mkc_tensor t = {.dtype = s->info.dtype, .ndim = s->ndim};
  if (s->present) t.data = (char *)s->device + s->first * element_size(s->info.dtype);
  memcpy(t.shape, s->dims, sizeof s->dims);
  memcpy(t.stride, s->stride, sizeof s->stride);
  return t;
}

static void make_arrays(struct trial *t) {
  const struct op_case *c = t->c;
  t->n = mkc_op_arg_count(t->op);
  for (int i = 0; i < t->n; i++) {
    struct side *s = &t->sides[i];
    s->info = (mkc_arg_info)MKC_ARG_INFO_INIT;
    mkc_op_arg_info(t->op, i, &s->info);
    const struct leaf *leaf = leaf_named(t->v, s->info.name);
    const bool packs = s->info.axes[0] == 'C'; /* cu_seqlens: a case is a batch */
    s->present = !s->info.optional || (c->state && c->pass == MKC_FORWARD && !packs);
    if (!s->present) continue;
    lay_out(s, c, heads_of(c, leaf));
    allocate(t->device->cu, s);
    if (s->info.output && !s->info.in_place) continue;
    fill(s, leaf, c, c->seed + (uint64_t)i);
    set_dead_slots(s, c, 0, NAN); /* they are not read */
    upload(t->device->cu, s);
  }
  t->o = must(calloc((size_t)(c->B * c->T * c->H) * (size_t)c->dv, sizeof *t->o));
  const size_t states = (size_t)(c->B * ref_state_slots(t->v, (int)levels_of(c)) * c->H);
  t->nt = must(calloc((size_t)(c->B * c->H) * (size_t)c->dk, sizeof *t->nt));
  t->ht = must(calloc(states * (size_t)c->dk * (size_t)c->dv + 1, sizeof *t->ht));
  t->positions = must(calloc((size_t)c->B, sizeof *t->positions));
  for (int64_t b = 0; b < c->B; b++) t->positions[b] = position_of(c, b);
}

/* ---- the reference, the op, and what came of it ---- */

static bool is_named(const struct side *s, const char *name) {
  return strcmp(s->info.name, name) == 0;
}

static mkc_status run_reference(struct trial *t, struct error *err) {
  const struct op_case *c = t->c;
  struct ref_array arrays[OP_MAX_ARRAYS] = {0};
  struct ref_call call = {.B = c->B,
                          .T = c->T,
                          .H = c->H,
                          .dk = c->dk,
                          .dv = c->dv,
                          .levels = (int)levels_of(c),
                          .taps = 1,
                          .chunk = 64,
                          .arrays = arrays,
                          .o = t->o,
                          .ht = ref_has_state(t->v) ? t->ht : NULL,
                          .nt = ref_has_state(t->v) && t->v->normaliser ? t->nt : NULL};
  for (int i = 0; i < t->n; i++) {
    const struct leaf *leaf = leaf_named(t->v, t->sides[i].info.name);
    if (leaf) arrays[leaf->index] = (struct ref_array){t->sides[i].values, heads_of(c, leaf)};
    if (!t->sides[i].present) continue;
    if (is_named(&t->sides[i], "state") || is_named(&t->sides[i], "h0"))
      call.h0 = t->sides[i].values;
    if (is_named(&t->sides[i], "state_n") || is_named(&t->sides[i], "n0"))
      call.n0 = t->sides[i].values;
    if (is_named(&t->sides[i], "position")) call.position = t->positions;
  }
  return ref_run(t->v, REF_STATE, &call, err);
}

static double compare(struct side *s, const double *expected) {
  double *actual = must(calloc(s->count, sizeof(double)));
  for (size_t i = 0; i < s->count; i++) actual[i] = get(s, place(s, i));
  const double error = ref_relative_l2(actual, expected, s->count);
  free(actual);
  return error;
}

static mkc_status launch(struct trial *t, struct error *err) {
  const struct driver *cu = t->device->cu;
  mkc_tensor args[OP_MAX_ARRAYS];
  for (int i = 0; i < t->n; i++) {
    struct side *s = &t->sides[i];
    if (s->present && s->info.output) reset(cu, s);
    args[i] = tensor(s);
  }
  struct side workspace = {.count = 1};
  mkc_status status = mkc_op_workspace(t->op, args, t->n, &workspace.bytes);
  if (workspace.bytes) allocate(cu, &workspace);
  if (workspace.bytes) upload(cu, &workspace);
  if (!status) status = mkc_op_launch(t->op, args, t->n, workspace.device, workspace.bytes, NULL);
  if (status) return error_set(err, status, "%s", mkc_last_error());
  if (cu && cu->cuCtxSynchronize()) return error_set(err, MKC_E_CUDA, "the kernel failed");
  if (workspace.bytes) release(cu, &workspace);
  for (int i = 0; i < t->n; i++)
    if (t->sides[i].present && t->sides[i].info.output) download(cu, &t->sides[i]);
  return MKC_OK;
}

static mkc_status launch_twice(struct trial *t, struct op_outcome *ret, struct error *err) {
  char *once[OP_MAX_ARRAYS] = {0};
  ret->same = ret->intact = true;
  mkc_status status = launch(t, err);
  for (int i = 0; i < t->n && !status; i++) {
    const struct side *s = &t->sides[i];
    if (!s->present || !s->info.output) continue;
    ret->intact &= gaps_intact(s);
    once[i] = memcpy(must(malloc(s->bytes)), s->host, s->bytes);
  }
  if (!status) status = launch(t, err);
  for (int i = 0; i < t->n && !status; i++) {
    const struct side *s = &t->sides[i];
    if (!s->present || !s->info.output) continue;
    ret->intact &= gaps_intact(s);
    ret->same &= !memcmp(once[i], s->host, s->bytes);
  }
  for (int i = 0; i < t->n; i++) free(once[i]);
  return status;
}

static mkc_status run_prepared(struct trial *t, struct op_outcome *ret, struct error *err) {
  make_arrays(t);
  mkc_status status = run_reference(t, err);
  if (!status) status = launch_twice(t, ret, err);
  if (!status) {
    ret->o = compare(&t->sides[mkc_op_arg_index(t->op, "o")], t->o);
    for (int i = 0; i < t->n; i++) {
      struct side *x = &t->sides[i];
      if (!x->present) continue;
      if (is_named(x, "state")) set_dead_slots(x, t->c, t->c->T, 0);
      if (is_named(x, "state") || is_named(x, "ht")) ret->ht = fmax(ret->ht, compare(x, t->ht));
      if (is_named(x, "state_n") || is_named(x, "nt")) ret->ht = fmax(ret->ht, compare(x, t->nt));
    }
  }
  for (int i = 0; i < t->n; i++) release(t->device->cu, &t->sides[i]);
  free(t->o);
  free(t->ht);
  free(t->nt);
  free(t->positions);
  return status;
}

static mkc_status make_op(struct trial *t, struct error *err) {
  const struct op_case *c = t->c;
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_path = c->path;
  options.spec_text = c->text;
  options.settings = c->settings;
  options.nsettings = c->nsettings;
  options.device = t->device->name;
  options.pass = c->pass;
  options.arch = c->arch;
  options.dtype = c->dtype;
  options.dk = c->dk;
  options.dv = c->dv;
  options.chunk = c->chunk;
  options.align = c->align;
  options.heads = c->heads;
  options.check = c->check;
  mkc_status status = mkc_op_create(t->device->ctx, &options, &t->op);
  if (!status) status = mkc_op_prepare(t->op);
  return status ? error_set(err, status, "%s", mkc_last_error()) : MKC_OK;
}

mkc_status op_case_run(const struct op_device *d, const struct op_case *c, struct op_outcome *ret,
                       struct error *err) {
  struct trial t = {.device = d, .c = c};
  struct arena a;
  jmp_buf out_of_memory;
  *ret = (struct op_outcome){0};
  arena_init(&a, &out_of_memory);
  if (setjmp(out_of_memory)) must(NULL);
  mkc_status status =
      spec_load_with(c->path, c->text, strlen(c->text), c->settings, c->nsettings, &a, &t.v, err);
  if (!status) status = make_op(&t, err);
  if (!status) status = run_prepared(&t, ret, err);
  if (!status) ret->erases = t.v->branches[0].delta != DELTA_PLAIN;
  if (!status) ret->fenwick = t.v->branches[0].fenwick;
  mkc_op_destroy(t.op);
  arena_finish(&a);
  return status;
}

bool op_outcome_ok(const struct op_case *c, const struct op_outcome *r) {
  const bool bf16 = c->dtype == MKC_BF16, fp16 = c->dtype == MKC_F16;
  double o = bf16 ? 5e-3 : fp16 ? 1e-3 : 1e-5, ht = bf16 ? 3e-3 : fp16 ? 1e-3 : 1e-5;
  if (r->fenwick) o = bf16 ? 6e-3 : fp16 ? 3e-3 : 1e-5, ht = bf16 ? 5e-3 : fp16 ? 3e-3 : 1e-5;
  if (r->erases) o = ht = bf16 ? 1e-2 : fp16 ? 4e-3 : 1e-5;
  if (c->pass == MKC_STEP) {
    o = bf16 ? 0x1p-8 : fp16 ? 0x1p-11 : 1e-5;
    ht = 1e-5;
  }
  return r->o <= o && r->ht <= ht && r->same && r->intact;
}

/* ---- the case ---- */

bool op_case_shipped(struct op_case *c, const char *name) {
  char path[80];
  snprintf(path, sizeof path, "specs/%s.lua", name);
  const struct embedded_file *f = embedded_find(path);
  if (!f) return false;
  c->path = f->name;
  c->text = f->data;
  return true;
}

void op_case_print(struct buf *out, const struct op_case *c) {
  static const char *const layouts[] = {"[B,T,H,d]", "[B,H,T,d]", "padded"};
  if (c->pass == MKC_STEP) buf_puts(out, "step ");
  buf_printf(out, "%s B=%d T=%d H=%d (q,k %d, v %d, scalars %d) %d/%d chunk %d align %d %s%s%s",
             c->dtype == MKC_BF16  ? "bf16"
             : c->dtype == MKC_F16 ? "fp16"
                                   : "fp32",
             (int)c->B, (int)c->T, (int)c->H, (int)(c->qk_heads ? c->qk_heads : c->H),
             (int)(c->v_heads ? c->v_heads : c->H), (int)(c->scalar_heads ? c->scalar_heads : c->H),
             c->dk, c->dv, c->chunk, c->align, layouts[c->layout], c->state ? " state" : "",
             c->gates ? " resets" : "");
  if (c->position) buf_printf(out, " position %d", (int)c->position);
  if (c->arch) buf_printf(out, " %s", c->arch);
  if (c->heads) buf_printf(out, " heads %d", c->heads);
}

void op_outcome_print(struct buf *out, const struct op_outcome *r) {
  buf_printf(out, "o %.2e  ht %.2e%s%s", r->o, r->ht, r->same ? "" : "  NOT THE SAME BITS",
             r->intact ? "" : "  STRAY WRITE");
}

/* ---- the device ---- */

static mkc_status open_cuda(struct op_device *d, struct error *err) {
  CUdevice gpu;
  CUcontext context;
  const mkc_status status = driver_open(&d->cu, err);
  if (status) return status;
  if (d->cu->cuDeviceGet(&gpu, atoi(d->name + strlen("cuda:"))) ||
      d->cu->cuDevicePrimaryCtxRetain(&context, gpu) || d->cu->cuCtxSetCurrent(context))
    return error_set(err, MKC_E_NO_DEVICE, "%s cannot be opened", d->name);
  return MKC_OK;
}

mkc_status op_device_open(struct op_device *d, const char *name, struct error *err) {
  *d = (struct op_device){.name = name};
  if (!strncmp(name, "cuda:", 5)) {
    const mkc_status status = open_cuda(d, err);
    if (status) return status;
  }
  const mkc_status status = mkc_context_create(NULL, &d->ctx);
  return status ? error_set(err, status, "%s", mkc_last_error()) : MKC_OK;
}

void *op_device_alloc(const struct op_device *d, size_t bytes) {
  CUdeviceptr memory = 0;
  if (!d->cu) return must(aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (d->cu->cuMemAlloc(&memory, bytes)) memory = 0;
  return must((void *)(uintptr_t)memory);
}

void op_device_free(const struct op_device *d, void *p) {
  if (d->cu && p)
    d->cu->cuMemFree((CUdeviceptr)(uintptr_t)p);
  else
    free(p);
}

void op_device_upload(const struct op_device *d, void *to, const void *from, size_t bytes) {
  if (!d->cu)
    memcpy(to, from, bytes);
  else if (d->cu->cuMemcpyHtoD((CUdeviceptr)(uintptr_t)to, from, bytes))
    must(NULL);
}

void op_device_download(const struct op_device *d, void *to, const void *from, size_t bytes) {
  if (!d->cu)
    memcpy(to, from, bytes);
  else if (d->cu->cuMemcpyDtoH(to, (CUdeviceptr)(uintptr_t)from, bytes))
    must(NULL);
}

int op_device_setup(struct op_device *d) {
  const char *name = getenv("MASKC_TEST_DEVICE");
  struct error err = {0};
  if (!op_device_open(d, name ? name : "cpu", &err)) return 0;
  fprintf(stderr, "%s\n", error_text(&err));
  error_finish(&err);
  return -1;
}

void op_device_close(struct op_device *d) {
  mkc_context_destroy(d->ctx);
}
