/* SPDX-License-Identifier: MIT
 * run_values.c - the values of the arrays of maskc run: drawn where no file gave them, held against
 * their contracts, rounded to what the op takes; and outputs back to float32.
 */
#define _XOPEN_SOURCE 700
#include "number.h"
#include "run.h"

#include "../ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mkc_status out_of_memory(const struct run_array *x, struct error *err) {
  return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory for %s, %zu elements", x->name,
                   x->count);
}

/* Larger arrays repeat themselves; the period is odd, so that no two heads or sequences are alike.
 */
static const size_t period = (1u << 24) - 3;

static mkc_status draw_array(const struct run *r, struct run_array *x, struct error *err) {
  static const struct leaf state = {
      .name = "h0", .axis = AXIS_DV, .min = -INFINITY, .max = INFINITY};
  static const struct leaf column = {.name = "n0", .axis = AXIS_DK, .min = 0, .max = INFINITY};
  const size_t n = x->count < period ? x->count : period;
  double *drawn = malloc(sizeof *drawn * n);
  x->values = malloc(sizeof *x->values * x->count);
  if (!drawn || !x->values) {
    free(drawn);
    return out_of_memory(x, err);
  }
  const uint64_t stream = (uint64_t)(x - r->arrays);
  ref_draw(x->leaf ? x->leaf : x == r->n0 ? &column : &state, r->seed * 1000003 + stream, drawn, n);
  for (size_t i = 0; i < x->count; i++) x->values[i] = (float)drawn[i % period];
  free(drawn);
  return MKC_OK;
}

/* Where element i is: "[0,3,1,17]". */
static void append_index(struct error *err, const struct run_array *x, size_t i) {
  int64_t index[RUN_MAX_DIMS] = {0};
  for (int d = x->ndim - 1; d >= 0; d--) {
    index[d] = (int64_t)(i % (size_t)x->shape[d]);
    i /= (size_t)x->shape[d];
  }
  run_append_shape(err, index, x->ndim);
}

/* A leaf's min and max are a contract that the plan may rely on. */
static mkc_status check_contract(struct run *r, const struct run_array *x, struct error *err) {
  for (size_t i = 0; i < x->count; i++) {
    const double value = x->values[i];
    if (!isfinite(value) && value != x->leaf->min) r->finite_inputs = false;
    if (!(value < x->leaf->min) && !(value > x->leaf->max)) continue;
    error_set(err, MKC_E_ARGUMENT, "%s: %s", x->in, x->name);
    append_index(err, x, i);
    error_append(err, " is %g; %s:%d says ", value, r->file.path, x->leaf->line);
    error_append(err, value < x->leaf->min ? "min = %g" : "max = %g",
                 value < x->leaf->min ? x->leaf->min : x->leaf->max);
    return err->status;
  }
  return MKC_OK;
}

static size_t dtype_bytes(mkc_dtype dtype) {
  return dtype == MKC_BF16 || dtype == MKC_F16 ? 2 : dtype == MKC_I64 ? 8 : 4;
}

static mkc_status allocate_packed(struct run_array *x, struct error *err) {
  const size_t align = 64;
  x->bytes = x->count * dtype_bytes(x->dtype);
  /* the exact size, so that a sanitizer sees the end */
  if (posix_memalign(&x->packed, align, x->bytes)) {
    x->packed = NULL;
    return out_of_memory(x, err);
  }
  if (x->output) memset(x->packed, 0xff, x->bytes); /* NaN in every type */
  return MKC_OK;
}

/* Rounds values to dtype, in both places. */
static mkc_status pack(struct run_array *x, struct error *err) {
  const mkc_status status = allocate_packed(x, err);
  if (status) return status;
  if (x->dtype == MKC_F32) memcpy(x->packed, x->values, x->bytes);
  uint16_t *half = x->packed;
  for (size_t i = 0; i < x->count && x->dtype == MKC_BF16; i++) {
    half[i] = bf16_from_float(x->values[i]);
    x->values[i] = bf16_to_float(half[i]);
  }
  for (size_t i = 0; i < x->count && x->dtype == MKC_F16; i++) {
    half[i] = fp16_from_float(x->values[i]);
    x->values[i] = fp16_to_float(half[i]);
  }
  return MKC_OK;
}

/* What the run would hold, before any of it is drawn. */
static mkc_status check_memory(const struct run *r, size_t device_bytes, struct error *err) {
  double host = 0, device = 0;
  for (int i = 0; i < r->narrays; i++) {
    const struct run_array *x = &r->arrays[i];
    if (!x->present || x == r->cu || x == r->position) continue;
    if (!x->before) device += (double)x->count * (double)dtype_bytes(x->dtype);
    host += (double)x->count * (double)(dtype_bytes(x->dtype) + sizeof *x->values);
  }
  const double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
  const bool on_device = device_bytes && device > (double)device_bytes;
  if (!on_device && host <= have) return MKC_OK;
  return error_set(err, MKC_E_OUT_OF_MEMORY, "the arrays want %.1f GiB; %s has %.1f GiB",
                   (on_device ? device : host) / (1 << 30), on_device ? r->device : "this machine",
                   (on_device ? (double)device_bytes : have) / (1 << 30));
}

mkc_status run_arrays_fill(struct run *r, size_t device_bytes, struct error *err) {
  const mkc_status enough = check_memory(r, device_bytes, err);
  if (enough) return enough;
  r->finite_inputs = true;
  for (int i = 0; i < r->narrays; i++) {
    struct run_array *x = &r->arrays[i];
    mkc_status status = MKC_OK;
    if (!x->present || x == r->cu || x == r->position) continue;
    if (x->output) {
      status = allocate_packed(x, err);
    } else {
      progress_show("preparing %s", x->name);
      if (!x->in) status = draw_array(r, x, err);
      if (!status && x->in && x->leaf) status = check_contract(r, x, err);
      if (!status) status = pack(x, err);
    }
    progress_clear();
    if (status) return status;
  }
  return MKC_OK;
}

void run_reset_state(struct run *r) {
  if (r->pass != MKC_STEP) return;
  memcpy(r->ht->packed, r->h0->packed, r->h0->bytes);
  if (r->n0) memcpy(r->nt->packed, r->n0->packed, r->n0->bytes);
}

mkc_status run_array_unpack(struct run_array *x, struct error *err) {
  x->values = malloc(sizeof *x->values * x->count);
  if (!x->values) return out_of_memory(x, err);
  if (x->dtype == MKC_F32) memcpy(x->values, x->packed, x->bytes);
  const uint16_t *half = x->packed;
  for (size_t i = 0; i < x->count && x->dtype == MKC_BF16; i++)
    x->values[i] = bf16_to_float(half[i]);
  for (size_t i = 0; i < x->count && x->dtype == MKC_F16; i++)
    x->values[i] = fp16_to_float(half[i]);
  return MKC_OK;
}

void run_arrays_close(struct run *r) {
  for (int i = 0; i < r->narrays; i++) {
    free(r->arrays[i].values);
    free(r->arrays[i].packed);
  }
}
