/* SPDX-License-Identifier: MIT
 * 02_decode.c - speculative decoding in a pool of states, on the CPU device.
 *
 * Two sequences of a batch of three have a state in slots 3 and 0 of a pool; the third is padding.
 * As in 00_shortest.c q = k = v = 1 and the gate is 1/2, so o counts a sequence's tokens: 8 after
 * the first, then 12, 14, 15, 15.5, exactly.
 *
 *   draft    three tokens, nothing kept     8 12 14 | 8 12 14 | 0 0 0
 *   replay   the same, 2 and 3 accepted     8 12 14 | 8 12 14 | 0 0 0
 *   next     one token                      14      | 15      | 0
 */
#include <maskc.h>

#include <stdio.h>
#include <string.h>

enum { B = 3, T = 3, SLOTS = 4, D = 64 };

static uint16_t ones[B][T][D], o[B][T][D]; /* bf16; ones is q, k and v */
static float g[B][T];                      /* log(1/2) */
static _Alignas(16) float state[SLOTS][D][D];
static int32_t slot[B] = {3, 0, -1}, accepted[B];

static mkc_tensor tokens(uint16_t data[B][T][D], int n) {
  return (mkc_tensor){data, MKC_BF16, 4, {B, n, 1, D}, {T * D, D, D, 1}};
}

static mkc_tensor indexes(int32_t *data) {
  return (mkc_tensor){data, MKC_I32, 1, {B}, {1}};
}

/* n tokens of each sequence; speculative: the state is left as after the accepted ones */
static mkc_status launch(const mkc_op *op, int n, int speculative) {
  mkc_tensor args[16] = {0}; /* data NULL leaves the optional arrays out */
  args[mkc_op_arg_index(op, "q")] = tokens(ones, n);
  args[mkc_op_arg_index(op, "k")] = tokens(ones, n);
  args[mkc_op_arg_index(op, "v")] = tokens(ones, n);
  args[mkc_op_arg_index(op, "o")] = tokens(o, n);
  args[mkc_op_arg_index(op, "g")] = (mkc_tensor){g, MKC_F32, 3, {B, n, 1}, {T, 1, 1}};
  args[mkc_op_arg_index(op, "state")] =
      (mkc_tensor){state, MKC_F32, 4, {SLOTS, 1, D, D}, {D * D, D * D, D, 1}};
  args[mkc_op_arg_index(op, "state_index")] = indexes(slot);
  if (speculative) args[mkc_op_arg_index(op, "accepted")] = indexes(accepted);
  return mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL);
}

/* Prints the first channel of o and counts what is not as expected. */
static int compare(const char *what, int n, const float expected[B][T]) {
  int wrong = 0;
  printf("%-8s", what);
  for (int b = 0; b < B; b++) {
    for (int t = 0; t < n; t++) {
      const uint32_t bits = (uint32_t)o[b][t][0] << 16;
      float x;
      memcpy(&x, &bits, sizeof x);
      printf(" %g", x);
      wrong += x != expected[b][t];
    }
    printf(b < B - 1 ? " |" : "\n");
  }
  return wrong;
}

static mkc_status decode(const mkc_op *op, int *wrong) {
  static const float draft[B][T] = {{8, 12, 14}, {8, 12, 14}}, next[B][T] = {{14}, {15}};
  mkc_status status = launch(op, T, 1);
  if (status) return status;
  *wrong += compare("draft", T, draft);
  accepted[0] = 2; /* now the sampler has spoken */
  accepted[1] = 3;
  status = launch(op, T, 1);
  if (status) return status;
  *wrong += compare("replay", T, draft);
  status = launch(op, 1, 0);
  if (status) return status;
  *wrong += compare("next", 1, next);
  return MKC_OK;
}

int main(void) {
  mkc_context *context = NULL;
  mkc_op *op = NULL;
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_path = "simple_gla";
  options.device = "cpu";
  options.pass = MKC_STEP;
  options.dk = options.dv = D;
  for (int i = 0; i < B * T; i++) {
    g[i / T][i % T] = -0.6931471806f;
    for (int c = 0; c < D; c++) ones[i / T][i % T][c] = 0x3f80; /* 1 */
  }
  int wrong = 0;
  mkc_status status = mkc_context_create(NULL, &context);
  if (!status) status = mkc_op_create(context, &options, &op);
  if (!status) status = mkc_op_prepare(op);
  if (!status) status = decode(op, &wrong);
  if (status) fprintf(stderr, "%s: %s\n", mkc_status_string(status), mkc_last_error());
  mkc_op_destroy(op);
  mkc_context_destroy(context);
  return status || wrong;
}
