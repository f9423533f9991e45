/* SPDX-License-Identifier: MIT
 * test_big_offsets.c - offsets past 2^31 and 2^32: one dimension of every array at a time (batch,
 * token, head; rows of states) has strides by which its last element lies 2^33 bytes after its
 * first, which is 2^32 elements of 16 bits or 2^31 floats. What comes out is compared with the
 * reference.
 *
 * All arrays of a case lie in one block of memory, 1 MiB after each other; nothing is between the
 * far parts. On the CPU device that is address space, of which a few pages are used. On the GPU
 * that MASKC_TEST_DEVICE names ("cuda:0") it is memory, 8.1 GiB. Exit status 77, skipped: there is
 * not so much of either.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "gen_support.h"

#include "cli/number.h"
#include "maskc.h"
#include "op_case.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MAX_ARRAYS = 16, DK = 32, DV = 48, MIB = 1 << 20 };
static const int64_t far = (int64_t)1 << 33; /* bytes */
static const size_t block_bytes = ((size_t)1 << 33) + 64 * (size_t)MIB;

struct sizes {
  int64_t B, T, H;
  char axis; /* the dimension that is far: B, T, H; k of h0 and ht */
};
/* 70 tokens are two chunks, of which the second begins beyond 2^32 */
static const struct sizes forward[] = {
    {3, 70, 1, 'B'}, {1, 70, 2, 'T'}, {1, 70, 3, 'H'}, {2, 20, 1, 'k'}};
/* the rows of a state that a step updates lie side by side */
static const struct sizes step[] = {{3, 2, 1, 'B'}, {1, 3, 2, 'T'}, {2, 2, 3, 'H'}};

struct array {
  mkc_arg_info info;
  const struct leaf *leaf; /* NULL: h0, state, o and ht */
  mkc_tensor tensor;
  double *values; /* in logical order, as rounded */
  size_t count;
};

struct trial {
  struct loaded_spec spec;
  struct sizes n;
  mkc_op *op;
  int narrays;
  struct array arrays[MAX_ARRAYS];
};

static struct op_device device;
static char *block; /* in the device's memory */

/* ---- elements ---- */

static size_t element_size(mkc_dtype t) {
  return t == MKC_BF16 ? 2 : 4;
}

static char *address(const struct array *x, size_t index) {
  int64_t at = 0;
  for (int d = x->tensor.ndim - 1; d >= 0; d--) {
    at += (int64_t)(index % (size_t)x->tensor.shape[d]) * x->tensor.stride[d];
    index /= (size_t)x->tensor.shape[d];
  }
  return (char *)x->tensor.data + at * (int64_t)element_size(x->info.dtype);
}

/* Rows of the last dimension, which is dense, to and from the device. */
static void copy_row(void *host, char *at, size_t bytes, bool up) {
  const struct driver *cu = device.cu;
  const CUdeviceptr there = (CUdeviceptr)(uintptr_t)at;
  if (cu)
    assert_int_equal(
        up ? cu->cuMemcpyHtoD(there, host, bytes) : cu->cuMemcpyDtoH(host, there, bytes), 0);
  else
    memcpy(up ? at : host, up ? host : at, bytes);
}

static void write_array(struct array *x) {
  const size_t row = (size_t)x->tensor.shape[x->tensor.ndim - 1],
               size = element_size(x->info.dtype);
  char *buffer = calloc(row, size);
  for (size_t i = 0; i < x->count; i++) {
    char *to = buffer + i % row * size;
    const float value = (float)x->values[i];
    const uint16_t half = bf16_from_float(value);
    memcpy(to, size == 2 ? (const void *)&half : &value, size);
    x->values[i] = size == 2 ? bf16_to_float(half) : value;
    if (i % row == row - 1) copy_row(buffer, address(x, i - row + 1), row * size, true);
  }
  free(buffer);
}

static double *read_array(const struct array *x) {
  const size_t row = (size_t)x->tensor.shape[x->tensor.ndim - 1],
               size = element_size(x->info.dtype);
  double *values = calloc(x->count, sizeof *values);
  char *buffer = calloc(row, size);
  for (size_t i = 0; i < x->count; i++) {
    const char *from = buffer + i % row * size;
    uint16_t half;
    float value;
    if (i % row == 0) copy_row(buffer, address(x, i), row * size, false);
    memcpy(size == 2 ? (void *)&half : &value, from, size);
    values[i] = size == 2 ? bf16_to_float(half) : value;
  }
  free(buffer);
  return values;
}

/* ---- arrays ---- */

static int64_t extent(const struct trial *t, char axis) {
  switch (axis) {
  case 'B':
  case 'N': return t->n.B;
  case 'T': return t->n.T;
  case 'H': return t->n.H;
  default: return axis == 'k' ? DK : DV;
  }
}

/* Whether dimension d is the one that is far; that of params never is. */
static bool is_far(const struct trial *t, const struct array *x, int d) {
  const char axis = x->info.axes[d] == 'N' ? 'B' : x->info.axes[d];
  return x->tensor.ndim >= 3 && axis == t->n.axis && x->tensor.shape[d] > 1 &&
         d < x->tensor.ndim - 1;
}

static void lay_out(const struct trial *t, struct array *x, int place) {
  mkc_tensor *y = &x->tensor;
  int64_t near = 1;
  *y = (mkc_tensor){.dtype = x->info.dtype, .ndim = (int)strlen(x->info.axes)};
  x->count = 1;
  for (int d = y->ndim - 1; d >= 0; d--) {
    y->shape[d] = extent(t, x->info.axes[d]);
    x->count *= (size_t)y->shape[d];
    y->stride[d] = near;
    if (is_far(t, x, d)) {
      const int64_t apart = (far / (y->shape[d] - 1) + MIB - 1) / MIB * MIB;
      y->stride[d] = apart / (int64_t)element_size(x->info.dtype);
    } else {
      near *= y->shape[d];
    }
  }
  assert_in_range(near, 1, MIB / 4);
  y->data = block + (size_t)place * MIB;
}

/* What rows are divided by. */
static bool is_column(const char *name) {
  return !strcmp(name, "n0") || !strcmp(name, "state_n");
}

static void open_array(struct trial *t, int i) {
  static const struct leaf state = {.name = "h0", .min = -INFINITY, .max = INFINITY};
  struct array *x = &t->arrays[i];
  x->info = (mkc_arg_info)MKC_ARG_INFO_INIT;
  assert_int_equal(mkc_op_arg_info(t->op, i, &x->info), MKC_OK);
  for (int j = 0; j < t->spec.variant->nleaves; j++)
    if (!strcmp(t->spec.variant->leaves[j]->name, x->info.name))
      x->leaf = t->spec.variant->leaves[j];
  if (x->info.optional && x->info.axes[0] != 'B') return; /* cu_seqlens and the like */
  if (x->info.optional && x->info.axes[1] != 'H') return;
  lay_out(t, x, i);
  x->values = calloc(x->count, sizeof *x->values);
  if (x->info.output && !x->info.in_place) {
    for (size_t j = 0; j < x->count; j++) x->values[j] = NAN;
  } else {
    const double norm = x->leaf && x->leaf->axis == AXIS_DK && !x->leaf->fp32 ? 1 / sqrt(DK) : 1;
    ref_draw(x->leaf ? x->leaf : &state, 9u + (uint64_t)i, x->values, x->count);
    for (size_t j = 0; j < x->count; j++) x->values[j] *= norm;
    for (size_t j = 0; j < x->count && is_column(x->info.name); j++)
      x->values[j] = fabs(x->values[j]);
  }
  write_array(x);
}

/* ---- a case ---- */

static void launch(const struct trial *t) {
  mkc_tensor args[MAX_ARRAYS];
  for (int i = 0; i < t->narrays; i++) args[i] = t->arrays[i].tensor;
  if (mkc_op_launch(t->op, args, t->narrays, NULL, 0, NULL)) fail_msg("%s", mkc_last_error());
  if (device.cu) assert_int_equal(device.cu->cuCtxSynchronize(), 0);
}

static void check(const struct trial *t, const char *name, const double *expected,
                  double tolerance) {
  const struct array *x = &t->arrays[mkc_op_arg_index(t->op, name)];
  double *actual = read_array(x);
  assert_arrays_close(actual, expected, x->count, tolerance);
  free(actual);
}

static void compare(struct trial *t, mkc_pass pass) {
  const char *before = pass == MKC_STEP ? "state" : "h0",
             *after = pass == MKC_STEP ? "state" : "ht";
  const int column = mkc_op_arg_index(t->op, pass == MKC_STEP ? "state_n" : "n0");
  struct ref_array arrays[MAX_ARRAYS] = {{0}};
  struct error err = {0};
  const size_t heads = (size_t)(t->n.B * t->n.H);
  double *o = calloc(heads * (size_t)t->n.T * DV, sizeof *o),
         *ht = calloc(heads * DK * DV, sizeof *ht);
  double *nt = calloc(heads * DK, sizeof *nt);
  for (int i = 0; i < t->narrays; i++)
    if (t->arrays[i].leaf)
      arrays[t->arrays[i].leaf->index] = (struct ref_array){t->arrays[i].values, t->n.H};
  const struct ref_call call = {.B = t->n.B,
                                .T = t->n.T,
                                .H = t->n.H,
                                .dk = DK,
                                .dv = DV,
                                .levels = 1,
                                .taps = 1,
                                .arrays = arrays,
                                .h0 = t->arrays[mkc_op_arg_index(t->op, before)].values,
                                .o = o,
                                .ht = ht,
                                .n0 = column < 0 ? NULL : t->arrays[column].values,
                                .nt = column < 0 ? NULL : nt};
  ref_run(t->spec.variant, REF_STATE, &call, &err);
  assert_string_equal(error_text(&err), "");
  check(t, "o", o, 1e-2);
  check(t, after, ht, 1e-2);
  if (column >= 0) check(t, pass == MKC_STEP ? "state_n" : "nt", nt, 1e-2);
  free(nt);
  free(o);
  free(ht);
}

static void run(const char *name, mkc_pass pass, const struct sizes *n) {
  struct trial t = {.n = *n};
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  load_shipped(&t.spec, name);
  o.spec_path = name;
  o.device = device.name;
  o.pass = pass;
  o.dk = DK;
  o.dv = DV;
  if (mkc_op_create(device.ctx, &o, &t.op) || mkc_op_prepare(t.op))
    fail_msg("%s: %s", name, mkc_last_error());
  t.narrays = mkc_op_arg_count(t.op);
  assert_in_range(t.narrays, 1, MAX_ARRAYS);
  for (int i = 0; i < t.narrays; i++) open_array(&t, i);
  launch(&t);
  compare(&t, pass);
  for (int i = 0; i < t.narrays; i++) free(t.arrays[i].values);
  mkc_op_destroy(t.op);
  unload_spec(&t.spec);
}

/* ---- tests ---- */

/* one of each schedule, and what has tiles beside v */
static void test_forward(void **state) {
  (void)state;
  static const char *const specs[] = {"simple_gla",     "mamba2", "gated_rfa",
                                      "gated_deltanet", "gla",    "kda"};
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 4; j++) run(specs[i], MKC_FORWARD, &forward[j]);
}

static void test_step(void **state) {
  (void)state;
  static const char *const specs[] = {"mamba2", "gated_rfa", "gated_deltanet", "kda"};
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 3; j++) run(specs[i], MKC_STEP, &step[j]);
}

/* False: there is no such device, or not as much memory. */
static bool open_block(const char *name) {
  struct error err = {0};
  CUdeviceptr memory = 0;
  if (op_device_open(&device, name, &err)) {
    print_message("%s\n", error_text(&err));
    error_finish(&err);
    return false;
  }
  if (device.cu) {
    block = device.cu->cuMemAlloc(&memory, block_bytes) ? NULL : (char *)(uintptr_t)memory;
    if (block) device.cu->cuMemsetD8(memory, 0xff, block_bytes);
    return block != NULL;
  }
  void *pages = mmap(NULL, block_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  block = pages == MAP_FAILED ? NULL : pages;
  return block != NULL;
}

static void close_block(void) {
  if (block && device.cu) device.cu->cuMemFree((CUdeviceptr)(uintptr_t)block);
  if (block && !device.cu) munmap(block, block_bytes);
  op_device_close(&device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forward),
      cmocka_unit_test(test_step),
  };
  const char *name = getenv("MASKC_TEST_DEVICE");
  const bool opened = open_block(name ? name : "cpu");
  const int failed = opened ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
  close_block();
  return failed;
}
