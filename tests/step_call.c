/* SPDX-License-Identifier: MIT
 * step_call.c - a decode op with its arrays, see step_call.h. Buffers go to a GPU and back with
 * every launch.
 */
#include "step_call.h"

#include "cli/number.h"
#include "driver.h"

#include <math.h>
#include <stdlib.h>

enum { MARGIN = 64 }; /* poisoned elements around an array */

static size_t element_size(mkc_dtype t) {
  return t == MKC_BF16 || t == MKC_F16 ? 2 : t == MKC_I64 ? 8 : 4;
}

static const struct driver *cu; /* NULL: the CPU device */

static const char *device_name(void) {
  const char *name = getenv("MASKC_TEST_DEVICE");
  return name && !strncmp(name, "cuda:", 5) ? name : "cpu";
}

/* The driver, and the GPU's primary context on this thread. */
static void open_gpu(void) {
  struct error err = {0};
  CUdevice gpu;
  CUcontext context;
  if (cu || !strcmp(device_name(), "cpu")) return;
  if (driver_open(&cu, &err)) fail_msg("%s", error_text(&err));
  assert_int_equal(cu->cuDeviceGet(&gpu, atoi(device_name() + 5)), 0);
  assert_int_equal(cu->cuDevicePrimaryCtxRetain(&context, gpu), 0);
  assert_int_equal(cu->cuCtxSetCurrent(context), 0);
}

/* ---- one array ---- */

static int64_t extent(const struct step_sizes *n, const struct leaf *leaf, char axis) {
  switch (axis) {
  case 'B': return n->B;
  case 'N': return n->N;
  case 'T': return n->T;
  case 'L': return n->levels;
  case 'S': return n->levels - 1;
  case 'H': return leaf && leaf->axis == AXIS_DK ? n->qk_heads : n->H;
  case 'k': return n->dk;
  default: return n->dv;
  }
}

/* A pad after the channels of a head; the rows of a state have none between them. */
static void lay_out(struct side *s, const struct step_sizes *n) {
  const int64_t pad = n->align ? n->align / 4 : 4;
  int64_t step = 1;
  s->first = MARGIN + (size_t)pad;
  s->ndim = (int)strlen(s->info.axes);
  s->count = 1;
  for (int d = s->ndim - 1; d >= 0; d--) {
    s->shape[d] = extent(n, s->leaf, s->info.axes[d]);
    s->stride[d] = step;
    s->count *= (size_t)s->shape[d];
    step *= s->shape[d];
    if (s->info.axes[d] == 'H' || s->info.axes[d + 1] == 'k' || !s->info.axes[d + 1]) continue;
    step += pad;
  }
  s->bytes = (s->first + (size_t)step + MARGIN) * element_size(s->info.dtype);
}

static size_t place_of(const struct side *s, size_t index) {
  size_t at = s->first;
  for (int d = s->ndim - 1; d >= 0; d--) {
    at += (size_t)s->stride[d] * (index % (size_t)s->shape[d]);
    index /= (size_t)s->shape[d];
  }
  return at;
}

static double get(const struct side *s, size_t at) {
  const void *p = s->buffer + at * element_size(s->info.dtype);
  if (s->info.dtype == MKC_F32) return *(const float *)p;
  const uint16_t half = *(const uint16_t *)p;
  return s->info.dtype == MKC_BF16 ? bf16_to_float(half) : fp16_to_float(half);
}

static void put(struct side *s, size_t at, double x) {
  void *p = s->buffer + at * element_size(s->info.dtype);
  const float f = (float)x;
  if (s->info.dtype == MKC_F32)
    *(float *)p = f;
  else
    *(uint16_t *)p = s->info.dtype == MKC_BF16 ? bf16_from_float(f) : fp16_from_float(f);
}

double *side_read(const struct side *s) {
  double *values = calloc(s->count, sizeof *values);
  for (size_t i = 0; i < s->count; i++) values[i] = get(s, place_of(s, i));
  return values;
}

void side_write(struct side *s, const double *values) {
  for (size_t i = 0; i < s->count; i++) put(s, place_of(s, i), values[i]);
}

static void draw(struct side *s, uint64_t seed) {
  static const struct leaf state = {.name = "state", .min = -INFINITY, .max = INFINITY};
  /* what rows are divided by */
  static const struct leaf column = {.name = "state_n", .min = 0, .max = INFINITY};
  const bool divides = !strcmp(s->info.name, "state_n");
  ref_draw(s->leaf ? s->leaf : divides ? &column : &state, seed, s->values, s->count);
  side_write(s, s->values);
  for (size_t i = 0; i < s->count; i++) s->values[i] = get(s, place_of(s, i));
}

/* ---- the call ---- */

static const struct leaf *leaf_named(const struct variant *v, const char *name) {
  for (int i = 0; i < v->nleaves; i++)
    if (!strcmp(v->leaves[i]->name, name)) return v->leaves[i];
  return NULL;
}

static void open_side(struct step_call *c, int i) {
  struct side *s = &c->sides[i];
  s->info = (mkc_arg_info)MKC_ARG_INFO_INIT;
  assert_int_equal(mkc_op_arg_info(c->op, i, &s->info), MKC_OK);
  s->leaf = leaf_named(c->spec.variant, s->info.name);
  s->present = !s->info.optional;
  lay_out(s, &c->n);
  s->buffer = aligned_alloc(64, (s->bytes + 63) / 64 * 64);
  s->values = calloc(s->count, sizeof *s->values);
  s->device = s->buffer;
  CUdeviceptr memory = 0;
  if (cu) assert_int_equal(cu->cuMemAlloc(&memory, s->bytes), 0);
  if (cu) s->device = (void *)(uintptr_t)memory;
  memset(s->buffer, 0xff, s->bytes);
  if (s->leaf || s->info.in_place) draw(s, 17u + (uint64_t)i);
}

void step_open(struct step_call *c, mkc_context *ctx, const char *text,
               const struct step_sizes *n) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  *c = (struct step_call){.n = *n};
  open_gpu();
  load_spec(&c->spec, text);
  o.spec_text = text;
  o.device = device_name();
  o.pass = MKC_STEP;
  o.dtype = n->dtype;
  o.dk = n->dk;
  o.dv = n->dv;
  o.align = n->align;
  if (mkc_op_create(ctx, &o, &c->op) || mkc_op_prepare(c->op))
    fail_msg("%s: %s", text, mkc_last_error());
  c->nsides = mkc_op_arg_count(c->op);
  for (int i = 0; i < c->nsides; i++) open_side(c, i);
}

void step_close(struct step_call *c) {
  for (int i = 0; i < c->nsides; i++) {
    if (cu) cu->cuMemFree((CUdeviceptr)(uintptr_t)c->sides[i].device);
    free(c->sides[i].buffer);
    free(c->sides[i].values);
  }
  mkc_op_destroy(c->op);
  unload_spec(&c->spec);
}

struct side *step_side(struct step_call *c, const char *name) {
  const int i = mkc_op_arg_index(c->op, name);
  assert_true(i >= 0);
  return &c->sides[i];
}

void step_set_ints(struct step_call *c, const char *name, const int32_t *values) {
  struct side *s = step_side(c, name);
  assert_int_equal(s->info.dtype, MKC_I32);
  s->present = true;
  for (size_t i = 0; i < s->count; i++)
    memcpy(s->buffer + 4 * place_of(s, i), &values[i], sizeof *values);
}

void step_put_positions(struct step_call *c, const int64_t *positions) {
  struct side *s = step_side(c, "position");
  assert_int_equal(s->info.dtype, MKC_I64);
  assert_true(s->count <= sizeof c->position / sizeof *c->position);
  for (size_t b = 0; b < s->count; b++) {
    c->position[b] = positions[b];
    memcpy(s->buffer + 8 * place_of(s, b), &positions[b], sizeof *positions);
  }
}

void step_set_positions(struct step_call *c, const int64_t *positions, const int32_t *state_index) {
  struct side *pool = step_side(c, "state");
  const size_t one = (size_t)(c->n.H * c->n.dk * c->n.dv);
  step_put_positions(c, positions);
  for (int64_t b = 0; b < c->n.B; b++) {
    const int64_t entry = state_index ? state_index[b] : b;
    for (int64_t slot = 0; slot < c->n.levels - 1 && entry >= 0 && entry < c->n.N; slot++) {
      const size_t first = (size_t)(entry * (c->n.levels - 1) + slot) * one;
      for (size_t i = 0; i < one && !(positions[b] >> slot & 1); i++)
        put(pool, place_of(pool, first + i), NAN);
    }
  }
}

void step_poison_output(struct step_call *c, const char *name) {
  struct side *s = step_side(c, name);
  s->present = true;
  memset(s->buffer, 0xff, s->bytes);
}

mkc_status step_try_launch(const struct step_call *c, int64_t first, int64_t tokens) {
  mkc_tensor args[24] = {{0}};
  for (int i = 0; i < c->nsides; i++) {
    const struct side *s = &c->sides[i];
    if (!s->present) continue;
    int64_t at = (int64_t)s->first;
    args[i] = (mkc_tensor){.dtype = s->info.dtype, .ndim = s->ndim};
    memcpy(args[i].shape, s->shape, sizeof s->shape);
    memcpy(args[i].stride, s->stride, sizeof s->stride);
    if (s->ndim > 1 && s->info.axes[1] == 'T') {
      args[i].shape[1] = tokens;
      at += first * s->stride[1];
    }
    args[i].data = (char *)s->device + (size_t)at * element_size(s->info.dtype);
    if (cu)
      assert_int_equal(cu->cuMemcpyHtoD((CUdeviceptr)(uintptr_t)s->device, s->buffer, s->bytes), 0);
  }
  const mkc_status status = mkc_op_launch(c->op, args, c->nsides, NULL, 0, NULL);
  for (int i = 0; i < c->nsides && cu; i++) {
    const struct side *s = &c->sides[i];
    if (!s->present) continue;
    assert_int_equal(cu->cuMemcpyDtoH(s->buffer, (CUdeviceptr)(uintptr_t)s->device, s->bytes), 0);
  }
  return status;
}

void step_launch(const struct step_call *c, int64_t first, int64_t tokens) {
  if (step_try_launch(c, first, tokens)) fail_msg("%s", mkc_last_error());
}

bool step_gaps_intact(const struct step_call *c) {
  bool intact = true;
  for (int i = 0; i < c->nsides; i++) {
    const struct side *s = &c->sides[i];
    const size_t size = element_size(s->info.dtype);
    bool *mine = calloc(s->bytes / size, sizeof *mine);
    for (size_t j = 0; j < s->count; j++) mine[place_of(s, j)] = true;
    for (size_t j = 0; j < s->bytes; j++)
      intact &= mine[j / size] || (unsigned char)s->buffer[j] == 0xff;
    free(mine);
  }
  return intact;
}

/* ---- the reference ---- */

/* The first `tokens` tokens of an input; params as they are. */
static double *leading(const struct side *s, int64_t tokens) {
  const bool tokened = s->info.axes[1] == 'T';
  const size_t row = tokened ? s->count / (size_t)(s->shape[0] * s->shape[1]) : s->count;
  const size_t batches = tokened ? (size_t)s->shape[0] : 1;
  const size_t take = row * (size_t)(tokened ? tokens : 1), have = s->count / batches;
  double *out = calloc(batches * take, sizeof *out);
  for (size_t b = 0; b < batches; b++)
    memcpy(out + b * take, s->values + b * have, take * sizeof *out);
  return out;
}

static double *states_of(struct step_call *c, const char *name, const int32_t *slot) {
  const struct side *pool = step_side(c, name);
  const size_t one = pool->count / (size_t)c->n.N;
  double *h0 = calloc((size_t)c->n.B * one, sizeof *h0);
  for (int64_t b = 0; b < c->n.B; b++) {
    const int64_t from = slot ? slot[b] : b;
    if (from < 0 || from >= c->n.N) continue; /* skipped: whatever */
    memcpy(h0 + (size_t)b * one, pool->values + (size_t)from * one, one * sizeof *h0);
  }
  return h0;
}

void step_reference(struct step_call *c, int64_t tokens, const int32_t *slot, double **ret_o,
                    double **ret_states) {
  const struct step_sizes *n = &c->n;
  const size_t heads = (size_t)(n->B * n->H);
  struct ref_array arrays[24] = {{0}};
  struct error err = {0};
  double *h0 = states_of(c, "state", slot);
  double *n0 = c->spec.variant->normaliser ? states_of(c, "state_n", slot) : NULL;
  *ret_o = calloc(heads * (size_t)(tokens * n->dv), sizeof **ret_o);
  const int slots = ref_state_slots(c->spec.variant, n->levels);
  *ret_states = calloc(heads * (size_t)slots * (size_t)(n->dk * n->dv), sizeof **ret_states);
  for (int i = 0; i < c->nsides; i++) {
    const struct side *s = &c->sides[i];
    if (!s->leaf) continue;
    const char *h = strchr(s->info.axes, 'H');
    arrays[s->leaf->index] = (struct ref_array){leading(s, tokens), s->shape[h - s->info.axes]};
  }
  const struct ref_call call = {.B = n->B,
                                .T = tokens,
                                .H = n->H,
                                .dk = n->dk,
                                .dv = n->dv,
                                .levels = n->levels ? n->levels : 1,
                                .position = n->levels ? c->position : NULL,
                                .taps = 1,
                                .arrays = arrays,
                                .h0 = h0,
                                .n0 = n0,
                                .o = *ret_o,
                                .ht = *ret_states};
  ref_run(c->spec.variant, REF_STATE, &call, &err);
  assert_string_equal(error_text(&err), "");
  for (int i = 0; i < c->spec.variant->nleaves; i++) free((void *)arrays[i].data);
  free(h0);
  free(n0);
}
