/* SPDX-License-Identifier: MIT
 * test_delta.c - what the delta rule's kernel must keep: nothing written leaves the state alone, a
 * gate of 0 changes no bit, keys that repeat with beta = 2 do not blow up, and each form of the
 * transition is what the recurrence says. On the CPU device, against the float64 reference.
 */
#include "gen_support.h"

#include "cli/number.h"
#include "maskc.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_ARRAYS = 12 };

/* One launch: B = 1; arrays are drawn, keys with norm 1, then `set` may change them. */
struct run {
  const char *spec, *arch; /* arch NULL: sm_80 */
  mkc_dtype dtype;
  int dk, dv, chunk;
  int64_t T, H;
  void (*set)(const struct run *r, const char *name, double *x, size_t n);
  /* after run; run_finish frees */
  mkc_op *op;
  int n;
  mkc_arg_info info[MAX_ARRAYS];
  size_t count[MAX_ARRAYS];
  double *values[MAX_ARRAYS]; /* as rounded to the array's type */
  double *o, *ht;             /* the reference's, after run_reference */
};

static mkc_context *ctx;

static int64_t size_of_axis(const struct run *r, char axis) {
  return axis == 'B' ? 1 : axis == 'T' ? r->T : axis == 'H' ? r->H : axis == 'k' ? r->dk : r->dv;
}

static void lay_out(const struct run *r, const mkc_arg_info *info, mkc_tensor *t) {
  *t = (mkc_tensor){.dtype = info->dtype, .ndim = (int)strlen(info->axes)};
  int64_t step = 1;
  for (int i = t->ndim - 1; i >= 0; i--) {
    t->shape[i] = size_of_axis(r, info->axes[i]);
    t->stride[i] = step;
    step *= t->shape[i];
  }
}

static double get(const mkc_tensor *t, size_t i) {
  if (t->dtype == MKC_F32) return ((const float *)t->data)[i];
  const uint16_t x = ((const uint16_t *)t->data)[i];
  return t->dtype == MKC_BF16 ? bf16_to_float(x) : fp16_to_float(x);
}

static void put(const mkc_tensor *t, size_t i, double x) {
  if (t->dtype == MKC_F32)
    ((float *)t->data)[i] = (float)x;
  else
    ((uint16_t *)t->data)[i] =
        t->dtype == MKC_BF16 ? bf16_from_float((float)x) : fp16_from_float((float)x);
}

static const struct leaf *leaf_named(const struct variant *v, const char *name) {
  for (int i = 0; i < v->nleaves; i++)
    if (!strcmp(v->leaves[i]->name, name)) return v->leaves[i];
  return NULL;
}

static void normalise(double *x, size_t n, int d) {
  for (double *end = x + n; x < end; x += d) {
    double sum = 0;
    for (int i = 0; i < d; i++) sum += x[i] * x[i];
    for (int i = 0; i < d; i++) x[i] /= sqrt(sum);
  }
}

static void draw(const struct run *r, const struct variant *v, int i) {
  static const struct leaf state = {.name = "h0", .min = -INFINITY, .max = INFINITY};
  const struct leaf *leaf = leaf_named(v, r->info[i].name);
  ref_draw(leaf ? leaf : &state, (unsigned char)*r->info[i].name, r->values[i], r->count[i]);
  if (leaf && leaf->axis == AXIS_DK) normalise(r->values[i], r->count[i], r->dk);
  if (r->set) r->set(r, r->info[i].name, r->values[i], r->count[i]);
}

static mkc_op *op_of(const struct run *r) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  mkc_op *op;
  o.spec_path = "t.lua";
  o.spec_text = r->spec;
  o.device = "cpu";
  o.arch = r->arch;
  o.dtype = r->dtype;
  o.dk = r->dk;
  o.dv = r->dv;
  o.chunk = r->chunk;
  mkc_op_create(ctx, &o, &op);
  assert_string_equal(mkc_last_error(), "");
  assert_contains(mkc_op_plan(op), "(delta ");
  assert_int_equal(mkc_op_prepare(op), MKC_OK);
  return op;
}

/* Runs the op; values[i] is then what array i holds, outputs too. */
static void run_op(struct run *r, const struct variant *v) {
  mkc_tensor t[MAX_ARRAYS];
  mkc_op *op = r->op = op_of(r);
  r->n = mkc_op_arg_count(op);
  assert_true(r->n <= MAX_ARRAYS);
  for (int i = 0; i < r->n; i++) {
    mkc_op_arg_info(op, i, &r->info[i]);
    lay_out(r, &r->info[i], &t[i]);
    r->count[i] = 1;
    for (int j = 0; j < t[i].ndim; j++) r->count[i] *= (size_t)t[i].shape[j];
    r->values[i] = calloc(r->count[i], sizeof(double));
    t[i].data = aligned_alloc(64, (r->count[i] * 4 + 63) / 64 * 64);
    assert_non_null(r->values[i]);
    assert_non_null(t[i].data);
    if (!r->info[i].output) draw(r, v, i);
    for (size_t j = 0; j < r->count[i]; j++)
      put(&t[i], j, r->info[i].output ? NAN : r->values[i][j]);
  }
  assert_int_equal(mkc_op_launch(op, t, r->n, NULL, 0, NULL), MKC_OK);
  for (int i = 0; i < r->n; i++) {
    for (size_t j = 0; j < r->count[i]; j++) r->values[i][j] = get(&t[i], j);
    free(t[i].data);
  }
}

static int index_of(const struct run *r, const char *name) {
  int i = 0;
  while (strcmp(r->info[i].name, name)) i++;
  return i;
}

static void run_reference(struct run *r, const struct variant *v) {
  struct ref_array arrays[MAX_ARRAYS] = {0};
  struct error err = {0};
  r->o = calloc(r->count[index_of(r, "o")], sizeof(double));
  r->ht = calloc(r->count[index_of(r, "ht")], sizeof(double));
  const struct ref_call call = {.B = 1,
                                .T = r->T,
                                .H = r->H,
                                .dk = r->dk,
                                .dv = r->dv,
                                .levels = 1,
                                .taps = 1,
                                .chunk = 64,
                                .arrays = arrays,
                                .h0 = r->values[index_of(r, "h0")],
                                .o = r->o,
                                .ht = r->ht};
  for (int i = 0; i < r->n; i++) {
    const struct leaf *leaf = leaf_named(v, r->info[i].name);
    if (leaf) arrays[leaf->index] = (struct ref_array){r->values[i], r->H};
  }
  ref_run(v, REF_STATE, &call, &err);
  assert_string_equal(error_text(&err), "");
}

static void run_finish(struct run *r) {
  for (int i = 0; i < r->n; i++) free(r->values[i]);
  free(r->o);
  free(r->ht);
  mkc_op_destroy(r->op); /* owned the arrays' names */
}

static void run(struct run *r) {
  struct loaded_spec s;
  load_spec(&s, r->spec);
  run_op(r, s.variant);
  run_reference(r, s.variant);
  unload_spec(&s);
}

static void assert_as_the_reference(struct run *r) {
  const double tolerance = r->dtype == MKC_BF16 ? 1e-2 : 4e-3;
  run(r);
  const int o = index_of(r, "o"), ht = index_of(r, "ht");
  assert_arrays_close(r->values[o], r->o, r->count[o], tolerance);
  assert_arrays_close(r->values[ht], r->ht, r->count[ht], tolerance);
  run_finish(r);
}

/* ---- the arrays of a test ---- */

static void fill(double *x, size_t n, double value) {
  for (size_t i = 0; i < n; i++) x[i] = value;
}

static void no_write(const struct run *r, const char *name, double *x, size_t n) {
  (void)r;
  if (!strcmp(name, "beta")) fill(x, n, 0);
}

/* One key, with beta = 2: the state is turned over and over and never forgets. */
static void repeated(const struct run *r, const char *name, double *x, size_t n) {
  if (!strcmp(name, "beta")) fill(x, n, 2);
  if (!strcmp(name, "g")) fill(x, n, 0);
  if (strcmp(name, "k") != 0) return;
  for (size_t i = (size_t)r->dk; i < n; i++) x[i] = x[i % (size_t)r->dk];
}

/* Keys that are nearly one, with beta = 1: powers of L grow by orders of magnitude. */
static void correlated(const struct run *r, const char *name, double *x, size_t n) {
  if (!strcmp(name, "beta")) fill(x, n, 1);
  if (strcmp(name, "k") != 0) return;
  for (size_t i = 0; i < n; i++) x[i] = 0.3 * x[i] + (i % (size_t)r->dk == 5);
  normalise(x, n, r->dk);
}

static void open_gate(const struct run *r, const char *name, double *x, size_t n) {
  (void)r;
  if (!strcmp(name, "g")) fill(x, n, 0);
}

static void resets(const struct run *r, const char *name, double *x, size_t n) {
  (void)r;
  if (strcmp(name, "g") != 0) return;
  for (size_t i = 0; i < n; i++)
    if (i % 11 == 4) x[i] = i % 3 == 0 ? -INFINITY : i % 3 == 1 ? -1e4 : 0;
}

/* ---- tests ---- */

#define BETA "input { \"beta\", min = 0, max = 2 }"
#define DELTA "return variant { name = \"x\", transition = { delta(" BETA ") } }"
#define GATED                                                                       \
  "return variant { name = \"x\", transition = { decay(exp(input { \"g\", max = 0 " \
  "})), delta(" BETA ") } }"

static void test_no_write_leaves_the_state_alone(void **state) {
  (void)state;
  struct run r = {.spec = DELTA, .dtype = MKC_BF16, .dk = 48, .dv = 32, .T = 70, .H = 2};
  r.set = no_write;
  run(&r);
  const int o = index_of(&r, "o"), h0 = index_of(&r, "h0"), ht = index_of(&r, "ht");
  assert_memory_equal(r.values[ht], r.values[h0], r.count[ht] * sizeof(double));
  assert_arrays_close(r.values[o], r.o, r.count[o], 5e-3);
  run_finish(&r);
}

static void test_an_open_gate_changes_no_bit(void **state) {
  (void)state;
  struct run plain = {.spec = DELTA, .dtype = MKC_BF16, .dk = 64, .dv = 64, .T = 131, .H = 2};
  struct run gated = {.spec = GATED, .dtype = MKC_BF16, .dk = 64, .dv = 64, .T = 131, .H = 2};
  gated.set = open_gate;
  plain.chunk = gated.chunk = 32;
  run(&plain);
  run(&gated);
  const int x = index_of(&plain, "o"), y = index_of(&gated, "o");
  assert_memory_equal(plain.values[x], gated.values[y], plain.count[x] * sizeof(double));
  const int xt = index_of(&plain, "ht"), yt = index_of(&gated, "ht");
  assert_memory_equal(plain.values[xt], gated.values[yt], plain.count[xt] * sizeof(double));
  run_finish(&plain);
  run_finish(&gated);
}

static void test_keys_that_repeat(void **state) {
  (void)state;
  static const int chunks[] = {64, 16};
  for (int c = 0; c < 2; c++)
    for (int half = 0; half < 2; half++) {
      struct run r = {.spec = half ? DELTA : GATED, .dk = 64, .dv = 32, .T = 300, .H = 1};
      r.dtype = half ? MKC_F16 : MKC_BF16;
      r.chunk = chunks[c];
      r.set = repeated;
      assert_as_the_reference(&r);
      r.set = correlated;
      assert_as_the_reference(&r);
    }
}

static void test_resets(void **state) {
  (void)state;
  struct run r = {.spec = GATED, .dtype = MKC_BF16, .dk = 64, .dv = 48, .T = 200, .H = 2};
  r.set = resets;
  r.chunk = 64;
  assert_as_the_reference(&r);
}

/* Every way to say erase: where the decay stands, whose tile the vector has, one head for two. */
static void test_forms(void **state) {
  (void)state;
  static const char *const specs[] = {
      /* a vector of its own, and scalars on every role */
      "local k = input { \"k\", dk }\n"
      "return variant { name = \"x\", q = input \"c\" * input { \"q\", dk }, k = 0.5 * k,\n"
      "  v = -input \"w\" * input { \"v\", dv }, transition = { decay(sigmoid(input \"f\" + 3)),\n"
      "  identity - outer(sigmoid(input \"b\") * k, input { \"p\", dk }) } }",
      /* a vector made of k and an input of its own: Gated DeltaNet-2 with a scalar decay */
      "local k = l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", q = l2norm(input { \"q\", dk }), k = k,\n"
      "  transition = { identity - outer(k, sigmoid(input { \"b\", dk }) * k),\n"
      "  decay(sigmoid(input \"f\" + 3)) } }",
      /* the vector is q, and the state's own decay acts after the erasure reads it */
      "local q, k = input { \"q\", dk }, input { \"k\", dk }\n"
      "return variant { name = \"x\", q = q, k = k,\n"
      "  transition = { decay(sigmoid(input \"f\")) - outer(0.7 * k, q) } }",
      /* no scalar anywhere, so no table */
      "local k = l2norm(input { \"k\", dk })\n"
      "return variant { name = \"x\", k = k, transition = { identity - outer(k, k) } }",
      /* a decay in the mask is one of the transition */
      "return variant { name = \"x\", k = l2norm(input { \"k\", dk }), scale = dk^-0.5,\n"
      "  mask = decay(sigmoid(input \"f\" + 3)), transition = { delta(sigmoid(input \"b\")) },\n"
      "  output = o * silu(input { \"z\", dv }) }",
  };
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
    struct run r = {.spec = specs[i], .dtype = MKC_F16, .dk = 32, .dv = 32, .T = 150, .H = 2};
    r.chunk = 64;
    assert_as_the_reference(&r);
  }
}

static int open_context(void **state) {
  (void)state;
  return mkc_context_create(NULL, &ctx);
}

static int close_context(void **state) {
  (void)state;
  mkc_context_destroy(ctx);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_write_leaves_the_state_alone),
      cmocka_unit_test(test_an_open_gate_changes_no_bit),
      cmocka_unit_test(test_keys_that_repeat),
      cmocka_unit_test(test_resets),
      cmocka_unit_test(test_forms),
  };
  return cmocka_run_group_tests(tests, open_context, close_context);
}
