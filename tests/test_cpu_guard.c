/* SPDX-License-Identifier: MIT
 * test_cpu_guard.c - runtime/cpu/guard.c: a checked launch gives the results of an unchecked one,
 * whatever the strides, and a row past a sequence's end is caught although other memory of the same
 * array follows it.
 *
 * Started with --worker CHECK or --run CHECK this program is its own worker: AddressSanitizer ends
 * the process.
 */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/cpu/guard.h"
#include "../runtime/cpu/worker.h"
#include "../runtime/op.h"

/* o[t] = x[t + SHIFT] + p: a block a head, a thread a token. */
static const char text[] =
    "#include \"tile_host.h\"\n"
    "typedef struct array {\n"
    "  float *at;\n"
    "  i64 batch, token, head, heads;\n"
    "} array;\n"
    "typedef struct args {\n"
    "  i64 B, T, H;\n"
    "  array x, p, o, ht;\n"
    "} args;\n"
    "TILE_KERNEL(shift, args, 32, 1) {\n"
    "  const i64 batch = tile_block() / a.H, head = tile_block() % a.H, t = tile_tid();\n"
    "  const float *x = a.x.at + batch * a.x.batch + head * a.x.heads / a.H * a.x.head;\n"
    "  float *o = a.o.at + batch * a.o.batch + head * a.o.head;\n"
    "  const float p = a.p.at[head * a.p.head];\n"
    "  if (t < a.T) {\n"
    "    for (int c = 0; c < 4; c++) {\n"
    "#line 100 \"shift.k.c\"\n"
    "      const float y = x[(t + SHIFT) * a.x.token + c];\n"
    "#line 110 \"shift.k.c\"\n"
    "      o[(t + OUT) * a.o.token + c] = y + p;\n"
    "    }\n"
    "  }\n"
    "  float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head;\n"
    "  if (t < 4) ht[t * a.ht.token + 3] = x[t];\n"
    "}\n";

enum { B = 2, T = 10, H = 2, D = 4, PITCH = 6 };

static struct op_source source(int shift, int out) {
  struct op_source s = {.name = "shift", .entry = "shift", .dk = D, .dv = D, .threads = 32};
  static const struct op_array arrays[] = {
      {.name = "x", .axes = "BTHk", .align = 8},
      {.name = "p", .axes = "H", .align = 4},
      {.name = "o", .axes = "BTHv", .output = 1, .align = 8},
      {.name = "ht", .axes = "BHkv", .output = 1, .align = 4},
  };
  s.blocks_a_head = 1;
  s.narrays = 4;
  memcpy(s.arrays, arrays, sizeof arrays);
  s.plan = strdup("");
  if (asprintf(&s.text, "#define SHIFT %d\n#define OUT %d\n%s", shift, out, text) < 0) abort();
  return s;
}

struct arrays {
  float x[B * T * PITCH], p[H], o[B * H * T * PITCH], ht[B * H * D * D];
};

/* x has one head for both of o, tokens a pitch apart; o is head-major. */
static mkc_status run(mkc_check check, int shift, int out, struct arrays *a) {
  struct op_source s = source(shift, out);
  struct error err = {0};
  mkc_context *ctx = NULL;
  mkc_op *op = NULL;
  const mkc_tensor args[] = {
      {a->x, MKC_F32, 4, {B, T, 1, D}, {T * PITCH, PITCH, PITCH, 1}},
      {a->p, MKC_F32, 1, {H}, {1}},
      {a->o, MKC_F32, 4, {B, T, H, D}, {H * T * PITCH, PITCH, T * PITCH, 1}},
      {a->ht, MKC_F32, 4, {B, H, D, D}, {H * D * D, D * D, D, 1}},
  };
  for (int i = 0; i < B * T * PITCH; i++) a->x[i] = (float)i;
  for (int i = 0; i < H; i++) a->p[i] = (float)(1000 * i);
  memset(a->o, 0, sizeof a->o);
  memset(a->ht, 0, sizeof a->ht);
  mkc_status status = mkc_context_create(NULL, &ctx);
  if (!status) status = op_create_from_source(ctx, &s, &cpu_backend, 0, check, &op, &err);
  if (!status) status = mkc_op_prepare(op);
  if (!status) status = mkc_op_launch(op, args, 4, NULL, 0, NULL);
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
  error_finish(&err);
  return status;
}

static void test_same_result(void **state) {
  (void)state;
  struct arrays plain, checked;
  assert_int_equal(run(MKC_CHECK_NONE, 0, 0, &plain), MKC_OK);
  assert_true(plain.o[(T + 3) * PITCH + 2] == 1000 + 3 * PITCH + 2); /* batch 0, head 1, token 3 */
  assert_int_equal(run(MKC_CHECK_RACE, 0, 0, &checked), MKC_OK);
  for (int i = 0; i < B * H * T * PITCH; i++) /* what is not written between rows stays as it was */
    if (plain.o[i] != checked.o[i]) fail_msg("o[%d] is %g", i, (double)checked.o[i]);
  for (int i = 0; i < B * H * D; i++) assert_true(plain.ht[4 * i + 3] == checked.ht[4 * i + 3]);
}

static void assert_stray(int shift, int out, const char *report) {
  struct arrays a;
  assert_int_equal(run(MKC_CHECK_RACE, shift, out, &a), MKC_E_CHECK);
  assert_string_equal(mkc_last_error(), report);
}

static void test_stray(void **state) {
  (void)state;
  struct arrays a;
  assert_int_equal(run(MKC_CHECK_NONE, 1, 0, &a), MKC_OK); /* what follows x is ours as well */
  assert_stray(1, 0,
               "shift.k.c:100: stray access: thread 9 reads x[0,10,0,0], past the end of the "
               "sequence (block 0)");
  assert_stray(0, 1,
               "shift.k.c:110: stray access: thread 9 writes o[0,10,0,0], past the end of the "
               "sequence (block 0)");
}

/* ---- the layouts ---- */

static void assert_at(const struct guard *g, const float *p, enum guard_place place,
                      const char *name) {
  struct buf printed = {0};
  assert_int_equal(guard_look(g, p, sizeof *p), place);
  assert_int_equal(guard_print(g, p, &printed), place != GUARD_ELSEWHERE);
  assert_string_equal(buf_text(&printed), name);
  buf_finish(&printed);
}

/* A step's arrays: a pool of states, which is read and written in place, and those of every token.
 */
static void test_states(void **state) {
  (void)state;
  enum { SLOTS = 3, MATRIX = D * D };
  const struct op_source s = {
      .dk = D,
      .dv = D,
      .narrays = 3,
      .arrays = {{.name = "pool", .axes = "NHkv", .output = 1, .in_place = 1, .align = 4},
                 {.name = "states", .axes = "BTHkv", .output = 1, .align = 4},
                 {.name = "index", .axes = "B", .dtype = MKC_I32, .align = 4}}};
  float pool[SLOTS * H * MATRIX], states[T * H * MATRIX] = {0};
  int32_t index[B] = {2, 0};
  for (int i = 0; i < SLOTS * H * MATRIX; i++) pool[i] = (float)i;
  const int64_t args[ARGS_HEAD_SLOTS + 3 * ARRAY_SLOTS] = {B,
                                                           T,
                                                           H,
                                                           (intptr_t)pool,
                                                           H * MATRIX,
                                                           0,
                                                           MATRIX,
                                                           SLOTS, /* N where others have heads */
                                                           (intptr_t)states,
                                                           0,
                                                           H * MATRIX,
                                                           MATRIX,
                                                           H,
                                                           (intptr_t)index,
                                                           1,
                                                           0,
                                                           0,
                                                           0};
  struct guard *g;
  struct error err = {0};
  assert_int_equal(guard_create(&s, args, &g, &err), MKC_OK);
  const int64_t *slots = (const int64_t *)guard_args(g) + ARGS_HEAD_SLOTS;
  float *copy = (float *)(intptr_t)slots[0]; /* slot 2, head 1 */
  float *last = copy + 2 * slots[1] + slots[3];
  for (int i = 0; i < MATRIX; i++) assert_true(last[i] == pool[(2 * H + 1) * MATRIX + i]);
  assert_at(g, last + 6, GUARD_ARRAY, "pool[2,1,1,2]");
  assert_at(g, last + MATRIX, GUARD_POISON, "pool[2,1,0,0], past the end of the sequence");
  slots += ARRAY_SLOTS;
  float *token = (float *)(intptr_t)slots[0] + slots[1] + slots[3] + 9 * slots[2]; /* batch 1 */
  assert_at(g, token + 15, GUARD_ARRAY, "states[1,9,1,3,3]");
  slots += ARRAY_SLOTS;
  assert_int_equal(((int32_t *)(intptr_t)slots[0])[0], 2);
  assert_at(g, pool, GUARD_ELSEWHERE, "");
  last[6] = -1;
  guard_copy_back(g);
  assert_true(pool[(2 * H + 1) * MATRIX + 6] == -1 && pool[5] == 5);
  guard_destroy(g);
}

/* ---- AddressSanitizer ---- */

static int run_checked(void) {
  struct arrays *a = malloc(sizeof *a);
  if (!a) return 3;
  const mkc_status right = run(MKC_CHECK_ADDRESS, 0, 0, a);
  fprintf(stderr, "right: status %d %s\n", right, right ? mkc_last_error() : "");
  run(MKC_CHECK_ADDRESS, 1, 0, a); /* ends the process */
  return 3;
}

static int run_worker(void) {
  char self[] = "self", option[] = "--run";
  char *argv[] = {self, option, NULL};
  struct error err = {0};
  int exit_status = 3;
  if (cpu_worker_run(argv, MKC_CHECK_ADDRESS, &exit_status, &err))
    fprintf(stderr, "%s\n", error_text(&err));
  error_finish(&err);
  return exit_status;
}

static void test_address_check(void **state) {
  (void)state;
  char path[8192];
  struct error err = {0};
  if (!cpu_asan_loaded() && cpu_asan_preload(path, sizeof path, &err)) {
    print_message("skipped: %s\n", error_text(&err));
    error_finish(&err);
    skip();
  }
  const char *const argv[] = {"/proc/self/exe", "--worker", NULL};
  struct command_result r;
  command_run(argv, NULL, &r);
  assert_contains(r.err, "right: status 0");
  assert_contains(r.err, "use-after-poison");
  assert_contains(r.err, "shift.k.c:100");
  assert_int_equal(r.status, 4);
  command_result_finish(&r);
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "--worker")) return run_worker();
  if (argc == 2 && !strcmp(argv[1], "--run")) return run_checked();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_result),
      cmocka_unit_test(test_stray),
      cmocka_unit_test(test_states),
      cmocka_unit_test(test_address_check),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
