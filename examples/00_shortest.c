/* SPDX-License-Identifier: MIT
 * 00_shortest.c - the API on one screen: four tokens through simple_gla on the CPU device.
 *
 * q = k = v = 1 and a gate of 1/2: every element of the state is 1, 1.5, 1.75, 1.875, and o, the
 * sum of dk = 64 of them times dk^-0.5, is 8 12 14 15, exactly.
 */
#include <maskc.h>

#include <stdio.h>
#include <string.h>

enum { T = 4, D = 64 };

/* bf16 is the upper half of a float. Tiles begin at multiples of 16 bytes. */
static _Alignas(16) uint16_t q[T][D], k[T][D], v[T][D], o[T][D];
static float g[T]; /* gates are fp32; here log(1/2) */

/* [B,T,H,d] of one sequence and one head, in C order. */
static mkc_tensor tile(uint16_t (*data)[D]) {
  return (mkc_tensor){data, MKC_BF16, 4, {1, T, 1, D}, {T * D, D, D, 1}};
}

static mkc_status launch(const mkc_op *op) {
  mkc_tensor args[8] = {0}; /* q k v g h0 o ht cu_seqlens; data NULL leaves one out */
  args[mkc_op_arg_index(op, "q")] = tile(q);
  args[mkc_op_arg_index(op, "k")] = tile(k);
  args[mkc_op_arg_index(op, "v")] = tile(v);
  args[mkc_op_arg_index(op, "o")] = tile(o);
  args[mkc_op_arg_index(op, "g")] = (mkc_tensor){g, MKC_F32, 3, {1, T, 1}, {T, 1, 1}};
  return mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL);
}

static int print_and_compare(void) {
  static const float expected[T] = {8, 12, 14, 15};
  int wrong = 0;
  for (int t = 0; t < T; t++) {
    const uint32_t bits = (uint32_t)o[t][0] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    printf("%g%c", x, t < T - 1 ? ' ' : '\n');
    wrong += x != expected[t];
  }
  return wrong;
}

int main(void) {
  mkc_context *context = NULL;
  mkc_op *op = NULL;
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_path = "simple_gla";
  options.device = "cpu";
  options.dk = options.dv = D;
  for (int t = 0; t < T; t++) {
    g[t] = -0.6931471806f;
    for (int i = 0; i < D; i++) q[t][i] = k[t][i] = v[t][i] = 0x3f80; /* 1 */
  }

  mkc_status status = mkc_context_create(NULL, &context);
  if (!status) status = mkc_op_create(context, &options, &op); /* spec -> source */
  if (!status) status = mkc_op_prepare(op);                    /* source -> loaded kernel */
  if (!status) status = launch(op);
  if (status) fprintf(stderr, "%s: %s\n", mkc_status_string(status), mkc_last_error());
  const int wrong = status ? 1 : print_and_compare();
  mkc_op_destroy(op);
  mkc_context_destroy(context);
  return wrong;
}
