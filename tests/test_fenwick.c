/* SPDX-License-Identifier: MIT
 * test_fenwick.c - forward ops under a fenwick mask, each with several transitions: states saved at
 * one chunk size and resumed at another, at positions that are no multiple of a chunk; packed
 * sequences, each at its own position; lengths about powers of two; all weights 1, which is the
 * flat variant; and what a launch refuses, or answers with NaN.
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

static const char *const transitions[] = {
    "",
    "decay(1 - 2^(-5 - head))",
    "decay(exp(input { \"g\", max = 0 }))",
    "delta(sigmoid(input \"b\"))",
    "decay(exp(input { \"g\", max = 0 })), delta(sigmoid(input \"b\"))",
    "decay(exp(input { \"g\", dk, max = 0 }))",
    "decay(exp(-softplus(input { \"g\", dk } + param { \"c\", dk }))), delta(sigmoid(input \"b\"))",
};
enum { NTRANSITIONS = sizeof transitions / sizeof *transitions };

enum { T = 300, H = 2, DK = 32, DV = 48, LEVELS = 14, SLOTS = LEVELS - 1, MAX_ARRAYS = 16 };
enum { MATRIX = DK * DV, STATE = SLOTS * H * MATRIX, NCHUNKS = 3 };
static const int chunks[NCHUNKS] = {64, 16, 32};

static struct op_device device;

/* ---- a variant, its arrays, and ops of several chunks ---- */

struct array {
  const struct leaf *leaf;
  int64_t row; /* elements of a token, or of a param */
  double *values;
  void *data;
};

struct world {
  struct loaded_spec spec;
  mkc_op *ops[NCHUNKS];
  struct array arrays[MAX_ARRAYS];
  double *h0;
};

static int64_t width(const struct leaf *leaf) {
  return leaf->axis == AXIS_DK       ? DK
         : leaf->axis == AXIS_DV     ? DV
         : leaf->axis == AXIS_LEVELS ? LEVELS
                                     : 1;
}

static char *spec_text(const char *transition, const char *mask) {
  char *text = malloc(600);
  snprintf(text, 600,
           "local q, k = l2norm(input { \"q\", dk }), l2norm(input { \"k\", dk })\n"
           "return variant { name = \"t\", q = q, k = k, transition = { %s }%s }",
           transition, mask);
  return text;
}

/* All weights are 1 where `ones`. */
static void open_array(struct array *x, const struct leaf *leaf, bool ones) {
  const int64_t rows = leaf->param ? 1 : T;
  *x = (struct array){.leaf = leaf, .row = H * width(leaf)};
  const size_t n = (size_t)(rows * x->row), size = leaf->fp32 ? 4 : 2;
  char *host = calloc(n, size);
  x->values = calloc(n, sizeof(double));
  ref_draw(leaf, (uint64_t)leaf->name[0], x->values, n); /* the same in every spec */
  for (size_t i = 0; i < n; i++) {
    const float value = ones && leaf->axis == AXIS_LEVELS ? 1 : (float)x->values[i];
    if (leaf->fp32)
      ((float *)(void *)host)[i] = value;
    else
      ((uint16_t *)(void *)host)[i] = bf16_from_float(value);
    x->values[i] = leaf->fp32 ? value : bf16_to_float(bf16_from_float(value));
  }
  x->data = op_device_alloc(&device, n * size);
  op_device_upload(&device, x->data, host, n * size);
  free(host);
}

static mkc_op *make_op(const char *text, int chunk) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  mkc_op *op = NULL;
  o.spec_text = text;
  o.device = device.name;
  o.dk = DK;
  o.dv = DV;
  o.chunk = chunk;
  if (mkc_op_create(device.ctx, &o, &op) || mkc_op_prepare(op))
    fail_msg("%s: %s", text, mkc_last_error());
  return op;
}

static void open_world(struct world *w, const char *transition, const char *mask, bool ones) {
  static const struct leaf any = {.name = "h0", .min = -INFINITY, .max = INFINITY};
  char *text = spec_text(transition, mask);
  *w = (struct world){.h0 = calloc(STATE, sizeof(double))};
  load_spec(&w->spec, text);
  assert_in_range(w->spec.variant->nleaves, 1, MAX_ARRAYS);
  for (int i = 0; i < w->spec.variant->nleaves; i++)
    open_array(&w->arrays[i], w->spec.variant->leaves[i], ones);
  for (int i = 0; i < NCHUNKS; i++) w->ops[i] = make_op(text, chunks[i]);
  ref_draw(&any, 3, w->h0, STATE);
  for (int i = 0; i < STATE; i++) w->h0[i] = (float)w->h0[i];
  free(text);
}

static const char fenwick[] = ", mask = fenwick(input { \"l\", levels })";

static void close_world(struct world *w) {
  for (int i = 0; i < w->spec.variant->nleaves; i++) {
    op_device_free(&device, w->arrays[i].data);
    free(w->arrays[i].values);
  }
  for (int i = 0; i < NCHUNKS; i++) mkc_op_destroy(w->ops[i]);
  free(w->h0);
  unload_spec(&w->spec);
}

/* ---- launches ---- */

/* Tokens first to first + tokens - 1, from states to states, all in the device's memory: n
 * sequences, packed where starts is given. Levels 0: LEVELS. */
struct call {
  int64_t first, tokens, n;
  int64_t *positions;
  int64_t *starts; /* cu_seqlens */
  float *h0, *ht;
  uint16_t *o;
  int levels;
  size_t workspace; /* bytes less than are wanted */
};

static void set(mkc_tensor *t, void *data, mkc_dtype dtype, int ndim, const int64_t *shape) {
  int64_t step = 1;
  *t = (mkc_tensor){.data = data, .dtype = dtype, .ndim = ndim};
  for (int d = ndim - 1; d >= 0; d--) {
    t->shape[d] = shape[d];
    t->stride[d] = step;
    step *= shape[d];
  }
}

static void set_leaf(const struct array *x, const struct call *c, mkc_tensor *t) {
  const mkc_dtype dtype = x->leaf->fp32 ? MKC_F32 : MKC_BF16;
  const int64_t first = x->leaf->param ? 0 : c->first * x->row * (dtype == MKC_F32 ? 4 : 2);
  const int64_t shape[] = {1, c->tokens, H, width(x->leaf)};
  const bool scalar = x->leaf->axis == AXIS_NONE;
  if (x->leaf->param)
    set(t, x->data, dtype, scalar ? 1 : 2, shape + 2);
  else
    set(t, (char *)x->data + first, dtype, scalar ? 3 : 4, shape);
  if (x->leaf->axis == AXIS_LEVELS && c->levels) t->shape[t->ndim - 1] = c->levels;
}

static int set_args(const struct world *w, const mkc_op *op, const struct call *c,
                    mkc_tensor *args) {
  const int64_t state[] = {c->n, SLOTS, H, DK, DV}, flat[] = {c->n, H, DK, DV};
  const int64_t o[] = {1, c->tokens, H, DV}, starts[] = {c->n + 1};
  const int n = mkc_op_arg_count(op);
  for (int i = 0; i < n; i++) {
    mkc_arg_info info = MKC_ARG_INFO_INIT;
    assert_int_equal(mkc_op_arg_info(op, i, &info), MKC_OK);
    const bool slots = info.axes[1] == 'S', is_h0 = !strcmp(info.name, "h0");
    args[i] = (mkc_tensor){.data = NULL};
    for (int j = 0; j < w->spec.variant->nleaves; j++)
      if (!strcmp(w->arrays[j].leaf->name, info.name)) set_leaf(&w->arrays[j], c, &args[i]);
    if (is_h0 || !strcmp(info.name, "ht"))
      set(&args[i], is_h0 ? c->h0 : c->ht, MKC_F32, slots ? 5 : 4, slots ? state : flat);
    if (!strcmp(info.name, "o")) set(&args[i], c->o + c->first * H * DV, MKC_BF16, 4, o);
    if (!strcmp(info.name, "position")) set(&args[i], c->positions, MKC_I64, 1, &c->n);
    if (!strcmp(info.name, "cu_seqlens")) set(&args[i], c->starts, MKC_I64, 1, starts);
  }
  return n;
}

static mkc_status try_launch(const struct world *w, const mkc_op *op, const struct call *c) {
  mkc_tensor args[MAX_ARRAYS];
  const int n = set_args(w, op, c, args);
  size_t bytes = 0;
  mkc_status status = mkc_op_workspace(op, args, n, &bytes);
  if (status) return status;
  void *workspace = bytes ? op_device_alloc(&device, bytes) : NULL;
  status = mkc_op_launch(op, args, n, workspace, bytes - c->workspace, NULL);
  if (device.cu) device.cu->cuCtxSynchronize();
  op_device_free(&device, workspace);
  return status;
}

static void launch(const struct world *w, const mkc_op *op, const struct call *c) {
  if (try_launch(w, op, c)) fail_msg("%s", mkc_last_error());
}

static void *to_device(const void *from, size_t bytes) {
  void *p = op_device_alloc(&device, bytes);
  op_device_upload(&device, p, from, bytes);
  return p;
}

/* n states with NaN in what is not live at the positions: it is not read. */
static float *make_states(const struct world *w, const int64_t *positions, int n) {
  float *host = calloc((size_t)n * STATE, sizeof(float));
  for (int i = 0; i < n * STATE; i++) {
    const int slot = i % STATE / (H * MATRIX);
    host[i] = positions[i / STATE] >> slot & 1 ? (float)w->h0[i % STATE] : NAN;
  }
  float *p = to_device(host, (size_t)n * STATE * sizeof(float));
  free(host);
  return p;
}

static void *poisoned(size_t bytes) {
  char *host = malloc(bytes);
  memset(host, 0xff, bytes);
  void *p = to_device(host, bytes);
  free(host);
  return p;
}

static double *read_floats(const void *from, size_t n) {
  float *host = malloc(n * sizeof *host);
  double *values = malloc(n * sizeof *values);
  op_device_download(&device, host, from, n * sizeof *host);
  for (size_t i = 0; i < n; i++) values[i] = host[i];
  free(host);
  return values;
}

static double *read_o(const void *from) {
  uint16_t *host = malloc(T * H * DV * sizeof *host);
  double *values = malloc(T * H * DV * sizeof *values);
  op_device_download(&device, host, from, T * H * DV * sizeof *host);
  for (int i = 0; i < T * H * DV; i++) values[i] = bf16_to_float(host[i]);
  free(host);
  return values;
}

/* All T tokens at once, in float64. */
static void reference(const struct world *w, int64_t position, double *o, double *ht) {
  struct ref_array arrays[MAX_ARRAYS];
  struct error err = {0};
  for (int i = 0; i < w->spec.variant->nleaves; i++)
    arrays[i] = (struct ref_array){w->arrays[i].values, H};
  const struct ref_call call = {.B = 1,
                                .T = T,
                                .H = H,
                                .dk = DK,
                                .dv = DV,
                                .levels = LEVELS,
                                .taps = 1,
                                .position = &position,
                                .arrays = arrays,
                                .h0 = w->h0,
                                .o = o,
                                .ht = ht};
  ref_run(w->spec.variant, REF_STATE, &call, &err);
  assert_string_equal(error_text(&err), "");
}

/* ---- tests ---- */

static void pieces_of(const struct world *w, int64_t start, const int64_t *pieces, int npieces) {
  int64_t first = 0, position = start;
  int64_t *positions = op_device_alloc(&device, sizeof position);
  float *states[2] = {make_states(w, &start, 1), poisoned(STATE * sizeof(float))};
  struct call c = {.n = 1, .positions = positions, .o = poisoned(T * H * DV * 2)};
  for (int i = 0; i < npieces; first += pieces[i], position += pieces[i], i++) {
    op_device_upload(&device, positions, &position, sizeof position);
    c.first = first;
    c.tokens = pieces[i];
    c.h0 = states[i % 2];
    c.ht = states[(i + 1) % 2];
    launch(w, w->ops[i % NCHUNKS], &c);
  }
  assert_int_equal(first, T);
  double *expected = calloc(T * H * DV, sizeof(double)), *state = calloc(STATE, sizeof(double));
  reference(w, start, expected, state);
  double *o = read_o(c.o), *ht = read_floats(states[npieces % 2], STATE);
  assert_arrays_close(o, expected, T * H * DV, 6e-3);
  assert_arrays_close(ht, state, STATE, 5e-3);
  void *const device_memory[] = {positions, states[0], states[1], c.o};
  for (int i = 0; i < 4; i++) op_device_free(&device, device_memory[i]);
  void *const host_memory[] = {expected, state, o, ht};
  for (int i = 0; i < 4; i++) free(host_memory[i]);
}

/* A state saved at one chunk size and resumed at another. */
static void test_pieces(void **state) {
  (void)state;
  static const int64_t pieces[] = {1, 26, 64, 100, 37, 72}, whole[] = {T}, ones[] = {1, 1, 1, 297};
  for (int i = 0; i < NTRANSITIONS; i++) {
    struct world w;
    open_world(&w, transitions[i], fenwick, false);
    pieces_of(&w, 0, pieces, 6);
    pieces_of(&w, 37, pieces, 6);
    pieces_of(&w, 4095 - 63, whole, 1);
    pieces_of(&w, 62, ones, 4);
    close_world(&w);
  }
}

/* Sequences of a packed batch, each at its own position, are those sequences alone, to the bit. */
static void test_packed(void **state) {
  (void)state;
  enum { N = 4 };
  int64_t starts[N + 1] = {0, 90, 90, 155, T}, positions[N] = {37, 5, 0, 1000};
  for (int i = 0; i < NTRANSITIONS; i++) {
    struct world w;
    open_world(&w, transitions[i], fenwick, false);
    float *h0 = make_states(&w, positions, N);
    float *together = poisoned(N * STATE * sizeof(float)), *alone = poisoned(STATE * sizeof(float));
    int64_t *at = to_device(positions, sizeof positions);
    struct call c = {.tokens = T, .n = N, .positions = at, .h0 = h0, .ht = together};
    c.starts = to_device(starts, sizeof starts);
    c.o = poisoned(T * H * DV * 2);
    launch(&w, w.ops[i % NCHUNKS], &c);
    double *o = read_o(c.o), *ht = read_floats(together, N * STATE);
    for (int n = 0; n < N; n++) {
      struct call one = {.first = starts[n], .tokens = starts[n + 1] - starts[n], .n = 1};
      one.positions = at + n;
      one.h0 = h0 + n * STATE;
      one.ht = alone;
      one.o = c.o;
      if (one.tokens == 0) continue;
      launch(&w, w.ops[i % NCHUNKS], &one);
      double *state_alone = read_floats(alone, STATE);
      assert_memory_equal(state_alone, ht + n * STATE, STATE * sizeof(double));
      free(state_alone);
    }
    /* the empty sequence has the state that it had */
    for (int j = 0; j < STATE; j++) {
      const bool live = positions[1] >> (j / (H * MATRIX)) & 1;
      assert_true(ht[STATE + j] == (live ? w.h0[j] : 0));
    }
    double *again = read_o(c.o);
    assert_memory_equal(o, again, T * H * DV * sizeof(double));
    void *const memory[] = {h0, together, alone, at, c.starts, c.o};
    for (int j = 0; j < 6; j++) op_device_free(&device, memory[j]);
    free(o);
    free(ht);
    free(again);
    close_world(&w);
  }
}

/* With all weights 1 it is the flat variant, and its state the sum of the slots. */
static void test_ones(void **state) {
  (void)state;
  for (int i = 0; i < NTRANSITIONS; i++) {
    struct world w, flat;
    open_world(&w, transitions[i], fenwick, true);
    open_world(&flat, transitions[i], "", true);
    double *o[2], *ht[2];
    for (int side = 0; side < 2; side++) {
      struct call c = {.tokens = T, .n = 1, .o = poisoned(T * H * DV * 2)};
      c.ht = poisoned(STATE * sizeof(float));
      launch(side ? &w : &flat, side ? w.ops[0] : flat.ops[0], &c);
      o[side] = read_o(c.o);
      ht[side] = read_floats(c.ht, STATE);
      op_device_free(&device, c.o);
      op_device_free(&device, c.ht);
    }
    for (int j = H * MATRIX; j < STATE; j++) ht[1][j % (H * MATRIX)] += ht[1][j];
    assert_arrays_close(o[1], o[0], T * H * DV, 6e-3);
    assert_arrays_close(ht[1], ht[0], H * MATRIX, 5e-3);
    for (int side = 0; side < 2; side++) free(o[side]), free(ht[side]);
    close_world(&w);
    close_world(&flat);
  }
}

/* T = 2^n - 1, 2^n and 2^n + 1, up to a length that a CI can afford; all with FULL=1. */
static void test_lengths(void **state) {
  (void)state;
  const int most = device.cu || getenv("FULL") ? 12 : 8;
  for (int n = 0; n <= most; n++) {
    for (int more = -1; more <= 1; more++) {
      const int k = 3 * n + more, i = (k + 1) % NTRANSITIONS;
      char *text = spec_text(transitions[i], fenwick);
      const struct op_case c = {.path = "t.lua",
                                .text = text,
                                .dtype = k % 4 == 3   ? MKC_F16
                                         : k % 4 == 1 ? MKC_F32
                                                      : MKC_BF16,
                                .B = 1,
                                .T = (1 << n) + more,
                                .H = n < 3 ? 8 : 1,
                                .dk = 32,
                                .dv = 32,
                                .chunk = chunks[(k + 1) % NCHUNKS],
                                .state = true,
                                .gates = k % 2 == 0,
                                .seed = 5u + (uint64_t)n};
      struct op_outcome r;
      struct error err = {0};
      struct buf line = {0};
      if (c.T > 0) op_case_run(&device, &c, &r, &err);
      assert_string_equal(error_text(&err), "");
      op_case_print(&line, &c);
      if (c.T > 0 && !op_outcome_ok(&c, &r))
        fail_msg("%s %s: o %.2e ht %.2e", text, buf_text(&line), r.o, r.ht);
      buf_finish(&line);
      free(text);
    }
  }
}

/* ---- what is refused ---- */

static void refused(const struct world *w, const struct call *c, const char *message) {
  assert_int_equal(try_launch(w, w->ops[0], c), MKC_E_ARGUMENT);
  assert_contains(mkc_last_error(), message);
}

static void test_refused(void **state) {
  (void)state;
  struct world w;
  open_world(&w, transitions[2], fenwick, false);
  struct call c = {.tokens = 256, .n = 1, .o = poisoned(T * H * DV * 2), .levels = 9};
  launch(&w, w.ops[0], &c); /* the last token is at 255, which has eight bits */
  c.levels = 8;
  refused(&w, &c, "256 tokens need 9 levels; l has 8");
  c.levels = 25;
  refused(&w, &c, "levels is 25 in l; the op takes at most 24");
  c.levels = 12;
  c.ht = poisoned(STATE * sizeof(float));
  refused(&w, &c, "slots is 13 in ht; with 12 levels in l it must be 11");
  c.levels = 0;
  c.workspace = 1;
  refused(&w, &c, "mkc_op_workspace asks for");
  op_device_free(&device, c.o);
  op_device_free(&device, c.ht);
  close_world(&w);
}

/* Positions are not seen at launch: tokens that no level is left for, and the state after them, are
 * NaN; those before are right. */
static void lost(const char *transition) {
  struct world w;
  open_world(&w, transition, fenwick, false);
  int64_t position = (1 << SLOTS) - 100; /* the first token that has no level is number 100 */
  struct call c = {.tokens = T, .n = 1, .o = poisoned(T * H * DV * 2)};
  c.ht = poisoned(STATE * sizeof(float));
  c.positions = to_device(&position, sizeof position);
  c.h0 = make_states(&w, &position, 1);
  launch(&w, w.ops[0], &c);
  double *o = read_o(c.o), *ht = read_floats(c.ht, STATE);
  for (int i = 0; i < T * H * DV; i++) assert_true(isnan(o[i]) == (i >= 100 * H * DV));
  for (int i = 0; i < STATE; i++) assert_true(isnan(ht[i]));
  free(o);
  position = INT64_MAX - T; /* as wrong as can be */
  op_device_upload(&device, c.positions, &position, sizeof position);
  launch(&w, w.ops[0], &c);
  o = read_o(c.o);
  for (int i = 0; i < T * H * DV; i++) assert_true(isnan(o[i]));
  free(o);
  free(ht);
  void *const memory[] = {c.positions, c.h0, c.ht, c.o};
  for (int i = 0; i < 4; i++) op_device_free(&device, memory[i]);
  close_world(&w);
}

static void test_lost(void **state) {
  (void)state;
  for (int i = 2; i < NTRANSITIONS; i += 2) lost(transitions[i]);
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
      cmocka_unit_test(test_pieces),  cmocka_unit_test(test_packed),  cmocka_unit_test(test_ones),
      cmocka_unit_test(test_lengths), cmocka_unit_test(test_refused), cmocka_unit_test(test_lost),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
