/* SPDX-License-Identifier: MIT
 * test_packed.c - packed batches (cu_seqlens) on the CPU device: the slots, the messages, and that
 * a packed sequence gives what it gives alone, to the bit; a NaN in one stays there; wrong numbers
 * move no access out of the arrays.
 */
#include "support.h"

#include "maskc.h"
#include "op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = 2, D = 64, MAX_TOKENS = 400, MAX_SEQUENCES = 8 };

/* of the scan and of the delta rule */
#define SPEC(erase)                                                      \
  "local k, b = l2norm(input { \"k\", dk }), sigmoid(input \"b\")\n"     \
  "return variant { name = \"x\", k = k, v = b * input { \"v\", dv },\n" \
  "  transition = { decay(exp(input { \"g\", max = 0 })), " erase " } }"
static const char plain[] = SPEC("identity"), delta[] = SPEC("identity - outer(b * k, k)");
static const char *spec;

/* Everything of one launch: T tokens, N sequences. bf16 arrays as they are in memory. */
struct world {
  _Alignas(16) uint16_t q[MAX_TOKENS * H * D], k[MAX_TOKENS * H * D], v[MAX_TOKENS * H * D],
      o[MAX_TOKENS * H * D], b[MAX_TOKENS * H];
  _Alignas(16) float g[MAX_TOKENS * H], h0[MAX_SEQUENCES * H * D * D],
      ht[MAX_SEQUENCES * H * D * D];
};

static mkc_context *context;
static mkc_op *op;

static int open_op(void **state) {
  (void)state;
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  o.spec_text = spec;
  o.device = "cpu";
  o.dk = o.dv = D;
  if (mkc_context_create(NULL, &context) || mkc_op_create(context, &o, &op) || mkc_op_prepare(op))
    print_error("%s\n", mkc_last_error());
  return op ? 0 : -1;
}

static int close_op(void **state) {
  (void)state;
  mkc_op_destroy(op);
  mkc_context_destroy(context);
  return 0;
}

static uint16_t to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return (uint16_t)((bits + 0x8000) >> 16);
}

static float uniform(uint64_t *seed) { /* in [-1,1) */
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (float)(int32_t)(*seed >> 32) / 2147483648.0f;
}

static struct world *world_create(uint64_t seed) {
  struct world *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
  assert_non_null(w);
  for (int i = 0; i < MAX_TOKENS * H * D; i++) {
    w->q[i] = to_bf16(uniform(&seed));
    w->k[i] = to_bf16(uniform(&seed));
    w->v[i] = to_bf16(uniform(&seed));
  }
  for (int i = 0; i < MAX_TOKENS * H; i++) {
    w->b[i] = to_bf16(uniform(&seed));
    w->g[i] = 0.2f * (uniform(&seed) - 1);
  }
  for (int i = 0; i < MAX_SEQUENCES * H * D * D; i++) w->h0[i] = uniform(&seed);
  memset(w->o, 0xff, sizeof w->o);
  memset(w->ht, 0xff, sizeof w->ht);
  return w;
}

static void set(mkc_tensor *args, const char *name, void *data, mkc_dtype dtype, int ndim,
                const int64_t *shape) {
  mkc_tensor *t = &args[mkc_op_arg_index(op, name)];
  int64_t stride = 1;
  *t = (mkc_tensor){.data = data, .dtype = dtype, .ndim = ndim};
  for (int d = ndim - 1; d >= 0; d--) {
    t->shape[d] = shape[d];
    t->stride[d] = stride;
    stride *= shape[d];
  }
}

/* Tokens `first` up to first + T of the world as a batch of one, states from sequence n on. */
static void set_world(mkc_tensor *args, struct world *w, int first, int T, int n, int states) {
  const int64_t rows[] = {1, T, H, D}, gates[] = {1, T, H}, state[] = {states, H, D, D};
  const size_t at = (size_t)first * H, s = (size_t)n * H * D * D;
  set(args, "q", w->q + at * D, MKC_BF16, 4, rows);
  set(args, "k", w->k + at * D, MKC_BF16, 4, rows);
  set(args, "v", w->v + at * D, MKC_BF16, 4, rows);
  set(args, "o", w->o + at * D, MKC_BF16, 4, rows);
  set(args, "b", w->b + at, MKC_BF16, 3, gates);
  set(args, "g", w->g + at, MKC_F32, 3, gates);
  set(args, "h0", w->h0 + s, MKC_F32, 4, state);
  set(args, "ht", w->ht + s, MKC_F32, 4, state);
}

static void launch(const mkc_tensor *args) {
  const mkc_status st = mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL);
  if (st) print_error("%s\n", mkc_last_error());
  assert_int_equal(st, MKC_OK);
}

static void launch_packed(struct world *w, int T, void *starts, mkc_dtype dtype, int n) {
  mkc_tensor args[OP_MAX_ARRAYS] = {{0}};
  const int64_t shape[] = {n + 1};
  set_world(args, w, 0, T, 0, n);
  set(args, "cu_seqlens", starts, dtype, 1, shape);
  launch(args);
}

static void launch_alone(struct world *w, int first, int T, int n) {
  mkc_tensor args[OP_MAX_ARRAYS] = {{0}};
  set_world(args, w, first, T, n, 1);
  launch(args);
}

static const int32_t starts32[] = {0, 1, 1, 64, 129, 256, 256, 321};
enum { N = 7, T = 321 };

static void assert_packed_is_alone(void *starts, mkc_dtype dtype) {
  struct world *packed = world_create(7), *alone = world_create(7);
  launch_packed(packed, T, starts, dtype, N);
  for (int n = 0; n < N; n++) {
    const size_t state = (size_t)n * H * D * D, bytes = sizeof(float) * H * D * D;
    const int length = starts32[n + 1] - starts32[n];
    if (length > 0)
      launch_alone(alone, starts32[n], length, n);
    else /* the state of no tokens is the one at the start */
      memcpy(alone->ht + state, alone->h0 + state, bytes);
  }
  assert_memory_equal(packed->o, alone->o, sizeof packed->o);
  assert_memory_equal(packed->ht, alone->ht, sizeof packed->ht);
  free(packed);
  free(alone);
}

static void test_packed_is_alone(void **state) {
  (void)state;
  int64_t starts64[N + 1];
  int32_t copy[N + 1];
  for (int i = 0; i <= N; i++) starts64[i] = copy[i] = starts32[i];
  assert_packed_is_alone(copy, MKC_I32);
  assert_packed_is_alone(starts64, MKC_I64);
}

static void test_nan_stays_in_its_sequence(void **state) {
  (void)state;
  int32_t starts[] = {0, 50, 100, 150};
  struct world *clean = world_create(3), *spoilt = world_create(3);
  spoilt->k[(size_t)60 * H * D] = 0x7fff;
  spoilt->g[60 * H] = NAN;
  launch_packed(clean, 150, starts, MKC_I32, 3);
  launch_packed(spoilt, 150, starts, MKC_I32, 3);
  const size_t row = H * D, state_size = (size_t)H * D * D;
  const size_t before = spec == delta ? 50 : 60; /* a chunk of the delta rule is solved as one */
  assert_memory_equal(clean->o, spoilt->o, sizeof(uint16_t) * before * row);
  assert_memory_equal(clean->o + 100 * row, spoilt->o + 100 * row, sizeof(uint16_t) * 50 * row);
  assert_memory_equal(clean->ht, spoilt->ht, sizeof(float) * state_size);
  assert_memory_equal(clean->ht + 2 * state_size, spoilt->ht + 2 * state_size,
                      sizeof(float) * state_size);
  free(clean);
  free(spoilt);
}

/* Past the arrays' tokens there is poison, which a stray write would change. */
static void test_wrong_numbers_stay_inside(void **state) {
  (void)state;
  int32_t overrun[] = {-5, 30, 2000000000, 40}, decrease[] = {90, 10, 5, 0};
  struct world *w = world_create(4);
  launch_packed(w, 100, overrun, MKC_I32, 3);
  launch_packed(w, 100, decrease, MKC_I32, 3);
  for (size_t i = 100 * H * D; i < MAX_TOKENS * H * D; i++) assert_int_equal(w->o[i], 0xffff);
  free(w);
}

static void expect(const mkc_tensor *args, const char *message) {
  assert_int_equal(mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL), MKC_E_ARGUMENT);
  assert_contains(mkc_last_error(), message);
}

static void test_messages(void **state) {
  (void)state;
  int32_t starts[] = {0, 50, 100};
  const int64_t three[] = {3}, one[] = {1}, two_rows[] = {2, 50, H, D};
  mkc_tensor args[OP_MAX_ARRAYS] = {{0}};
  struct world *w = world_create(5);
  set_world(args, w, 0, 100, 0, 3);
  set(args, "cu_seqlens", starts, MKC_I32, 1, three);
  expect(args, "x: B is 3 in h0, but 2 in cu_seqlens");
  set_world(args, w, 0, 100, 0, 2);
  set(args, "cu_seqlens", starts, MKC_I32, 1, one);
  expect(args, "cu_seqlens has one number; for N sequences it has N + 1");
  set(args, "cu_seqlens", starts, MKC_F32, 1, three);
  expect(args, "cu_seqlens is f32; it takes i64");
  set(args, "cu_seqlens", (char *)starts + 2, MKC_I32, 1, three);
  expect(args, "it must be aligned to 4 bytes");
  set_world(args, w, 0, 50, 0, 2);
  set(args, "cu_seqlens", starts, MKC_I32, 1, three);
  set(args, "q", w->q, MKC_BF16, 4, two_rows);
  expect(args, "x: B is 1 in k, but 2 in q");
  free(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_packed_is_alone),
      cmocka_unit_test(test_nan_stays_in_its_sequence),
      cmocka_unit_test(test_wrong_numbers_stay_inside),
      cmocka_unit_test(test_messages),
  };
  spec = plain;
  const int failed = cmocka_run_group_tests_name("scan", tests, open_op, close_op);
  spec = delta;
  return failed + cmocka_run_group_tests_name("delta", tests, open_op, close_op);
}
