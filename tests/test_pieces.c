/* SPDX-License-Identifier: MIT
 * test_pieces.c - prefill in pieces is prefill at once: every shipped flat spec runs over all of a
 * batch's tokens, and again piece by piece, each from the state that the one before left. Pieces
 * that are whole chunks give the same bits, others what rounding allows; so do the sequences of a
 * packed batch, each alone and in pieces.
 *
 * On the CPU device, or on the GPU that MASKC_TEST_DEVICE names ("cuda:0").
 */
#include "gen_support.h"

#include "cli/number.h"
#include "maskc.h"
#include "op_case.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>

static const char *const specs[] = {
    "linear_attention",
    "linear_attention_elu",
    "gated_rfa",
    "retnet",
    "lightning2",
    "simple_gla",
    "mamba2_core",
    "mamba2",
    "deltanet",
    "gated_deltanet",
    "comba",
    "decayed_deltanet",
    "gla",
    "hgrn2",
    "kda",
    "gdn2",
};
enum { NSPECS = sizeof specs / sizeof *specs };

enum { T = 301, H = 2, DK = 32, DV = 48, N = 3, MAX_ARRAYS = 16 };
/* a multiple of every chunk, and odd ones */
static const int64_t whole_chunks[] = {128, 128, 45}, odd[] = {1, 99, 64, 37, 100};
static const int64_t starts[N + 1] = {0, 90, 90, T};

struct array {
  mkc_arg_info info;
  mkc_tensor tensor; /* all of it; in the device's memory */
  size_t bytes;
  char *host;
};

/* h0 and ht, or n0 and nt: [N,H,dk,dv] or [N,H,dk] each. */
struct states {
  void *at[2];  /* on the device; what goes in and what comes out, by turns */
  float *first; /* what is in both at first */
  size_t count;
};

struct world {
  struct loaded_spec spec;
  mkc_op *op;
  int n;
  struct array arrays[MAX_ARRAYS];
  struct states h, column;
};

static struct op_device device;

static size_t element_size(mkc_dtype t) {
  return t == MKC_BF16 ? 2 : t == MKC_I64 ? 8 : 4;
}

/* ---- the arrays ---- */

static int64_t extent(char axis) {
  switch (axis) {
  case 'B': return 1;
  case 'T': return T;
  case 'H': return H;
  case 'C': return N + 1;
  default: return axis == 'k' ? DK : DV;
  }
}

static void lay_out(struct array *x) {
  mkc_tensor *t = &x->tensor;
  int64_t step = 1;
  *t = (mkc_tensor){.dtype = x->info.dtype, .ndim = (int)strlen(x->info.axes)};
  for (int d = t->ndim - 1; d >= 0; d--) {
    t->shape[d] = extent(x->info.axes[d]);
    t->stride[d] = step;
    step *= t->shape[d];
  }
  x->bytes = (size_t)step * element_size(x->info.dtype);
}

static void draw(struct array *x, const struct leaf *leaf, uint64_t seed) {
  const size_t n = x->bytes / element_size(x->info.dtype);
  double *values = calloc(n, sizeof *values);
  const double norm = leaf->axis == AXIS_DK && !leaf->fp32 ? 1 / sqrt((double)DK) : 1;
  ref_draw(leaf, seed, values, n);
  for (size_t i = 0; i < n; i++) {
    const float value = (float)(norm * values[i]);
    if (x->info.dtype == MKC_BF16)
      ((uint16_t *)(void *)x->host)[i] = bf16_from_float(value);
    else
      ((float *)(void *)x->host)[i] = value;
  }
  free(values);
}

static void open_array(struct world *w, int i) {
  struct array *x = &w->arrays[i];
  x->info = (mkc_arg_info)MKC_ARG_INFO_INIT;
  assert_int_equal(mkc_op_arg_info(w->op, i, &x->info), MKC_OK);
  lay_out(x);
  x->host = calloc(1, x->bytes);
  for (int j = 0; j < w->spec.variant->nleaves; j++)
    if (!strcmp(w->spec.variant->leaves[j]->name, x->info.name))
      draw(x, w->spec.variant->leaves[j], 5u + (uint64_t)i);
  if (x->info.axes[0] == 'C') memcpy(x->host, starts, sizeof starts);
  x->tensor.data = op_device_alloc(&device, x->bytes);
  op_device_upload(&device, x->tensor.data, x->host, x->bytes);
}

/* A column is what rows are divided by: not negative, so that no sum comes near 0. */
static void open_states(struct states *x, size_t count, bool column) {
  const struct leaf leaf = {.name = "h0", .min = column ? 0 : -INFINITY, .max = INFINITY};
  double *values = calloc(count, sizeof *values);
  *x = (struct states){.count = count, .first = calloc(count, sizeof *x->first)};
  ref_draw(&leaf, 3, values, count);
  for (size_t i = 0; i < count; i++) x->first[i] = (float)values[i];
  for (int i = 0; i < 2; i++) x->at[i] = op_device_alloc(&device, count * sizeof(float));
  free(values);
}

static void close_states(struct states *x) {
  for (int i = 0; i < 2; i++) op_device_free(&device, x->at[i]);
  free(x->first);
}

static void open_world(struct world *w, const char *name) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  char path[80];
  snprintf(path, sizeof path, "specs/%s.lua", name);
  const struct embedded_file *f = embedded_find(path);
  assert_non_null(f);
  *w = (struct world){.n = 0};
  load_spec(&w->spec, f->data);
  o.spec_text = f->data;
  o.device = device.name;
  o.dk = DK;
  o.dv = DV;
  if (mkc_op_create(device.ctx, &o, &w->op) || mkc_op_prepare(w->op))
    fail_msg("%s: %s", name, mkc_last_error());
  w->n = mkc_op_arg_count(w->op);
  assert_in_range(w->n, 1, MAX_ARRAYS);
  for (int i = 0; i < w->n; i++) open_array(w, i);
  open_states(&w->h, N * H * DK * DV, false);
  open_states(&w->column, N * H * DK, true);
}

static void close_world(struct world *w) {
  for (int i = 0; i < w->n; i++) {
    op_device_free(&device, w->arrays[i].tensor.data);
    free(w->arrays[i].host);
  }
  close_states(&w->h);
  close_states(&w->column);
  mkc_op_destroy(w->op);
  unload_spec(&w->spec);
}

/* ---- launches ---- */

/* NULL: the array is no state. */
static struct states *states_of(struct world *w, const mkc_arg_info *info) {
  if (info->axes[0] != 'B' || info->axes[1] != 'H') return NULL;
  return info->axes[3] ? &w->h : &w->column;
}

/* Sequences n to n + count - 1 of the states, `tokens` tokens from `first` on; `turn`: which state
 * is h0. packed: the batch is what cu_seqlens says. */
static void launch(struct world *w, int64_t first, int64_t tokens, int n, int count, int turn,
                   bool packed) {
  mkc_tensor args[MAX_ARRAYS] = {{0}};
  for (int i = 0; i < w->n; i++) {
    const struct array *x = &w->arrays[i];
    mkc_tensor *t = &args[i];
    const bool tokened = x->info.axes[1] == 'T';
    if (x->info.axes[0] == 'C' && !packed) continue;
    *t = x->tensor;
    if (tokened) t->shape[1] = tokens;
    if (tokened)
      t->data = (char *)t->data + (size_t)(first * t->stride[1]) * element_size(t->dtype);
    struct states *s = states_of(w, &x->info);
    if (!s) continue;
    t->shape[0] = count;
    t->data = (float *)s->at[(turn + x->info.output) % 2] + n * t->stride[0];
  }
  if (mkc_op_launch(w->op, args, w->n, NULL, 0, NULL)) fail_msg("%s", mkc_last_error());
}

struct result {
  double o[T * H * DV], state[N * H * DK * DV], column[N * H * DK];
};

static void read_states(const struct states *x, int turn, double *ret) {
  float *values = calloc(x->count, sizeof *values);
  op_device_download(&device, values, x->at[turn], x->count * sizeof *values);
  for (size_t i = 0; i < x->count; i++) ret[i] = values[i];
  free(values);
}

/* o, and the states that were written last. */
static struct result *read_result(struct world *w, int turn) {
  struct result *r = calloc(1, sizeof *r);
  struct array *o = &w->arrays[mkc_op_arg_index(w->op, "o")];
  op_device_download(&device, o->host, o->tensor.data, o->bytes);
  for (int i = 0; i < T * H * DV; i++)
    r->o[i] = bf16_to_float(((const uint16_t *)(const void *)o->host)[i]);
  read_states(&w->h, turn, r->state);
  read_states(&w->column, turn, r->column);
  return r;
}

/* o poisoned, the states as at first. */
static void reset(struct world *w) {
  struct array *o = &w->arrays[mkc_op_arg_index(w->op, "o")];
  memset(o->host, 0xff, o->bytes);
  op_device_upload(&device, o->tensor.data, o->host, o->bytes);
  for (int i = 0; i < 4; i++) {
    const struct states *x = i / 2 ? &w->column : &w->h;
    op_device_upload(&device, x->at[i % 2], x->first, x->count * sizeof *x->first);
  }
}

static struct result *at_once(struct world *w) {
  reset(w);
  launch(w, 0, T, 0, 1, 0, false);
  return read_result(w, 1);
}

static struct result *in_pieces(struct world *w, const int64_t *pieces, int n) {
  int64_t first = 0;
  reset(w);
  for (int i = 0; i < n; first += pieces[i++]) launch(w, first, pieces[i], 0, 1, i % 2, false);
  assert_int_equal(first, T);
  return read_result(w, n % 2);
}

static void assert_near(const struct result *x, const struct result *y) {
  assert_arrays_close(x->o, y->o, T * H * DV, 5e-3);
  assert_arrays_close(x->state, y->state, N * H * DK * DV, 4e-3);
  assert_arrays_close(x->column, y->column, N * H * DK, 4e-3);
}

/* ---- tests ---- */

static void test_pieces(void **state) {
  (void)state;
  for (int i = 0; i < NSPECS; i++) {
    struct world w;
    open_world(&w, specs[i]);
    struct result *whole = at_once(&w), *chunks = in_pieces(&w, whole_chunks, 3);
    struct result *pieces = in_pieces(&w, odd, 5);
    assert_memory_equal(whole->o, chunks->o, sizeof whole->o);
    /* one sequence's state: the others keep what was there */
    assert_memory_equal(whole->state, chunks->state, sizeof whole->state / N);
    assert_memory_equal(whole->column, chunks->column, sizeof whole->column / N);
    assert_near(pieces, whole);
    free(whole);
    free(chunks);
    free(pieces);
    close_world(&w);
  }
}

/* Each sequence of a packed batch in two pieces, of 37 tokens and the rest. */
static void test_packed(void **state) {
  (void)state;
  for (int i = 0; i < NSPECS; i++) {
    struct world w;
    open_world(&w, specs[i]);
    reset(&w);
    launch(&w, 0, T, 0, N, 0, true);
    struct result *packed = read_result(&w, 1);
    reset(&w);
    for (int n = 0; n < N; n++) {
      const int64_t first = starts[n], length = starts[n + 1] - first;
      if (length == 0) continue;
      launch(&w, first, 37, n, 1, 0, false);
      launch(&w, first + 37, length - 37, n, 1, 1, false);
    }
    struct result *pieces = read_result(&w, 0);
    assert_near(pieces, packed);
    free(packed);
    free(pieces);
    close_world(&w);
  }
}

static int open_device(void **state) {
  (void)state;
  return op_device_setup(&device);
}

static int close_device(void **state) {
  (void)state;
  op_device_close(&device);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pieces),
      cmocka_unit_test(test_packed),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
