/* SPDX-License-Identifier: MIT
 * 06_pack.c - kernels compiled while the program is built, and linked into it: at run time it needs
 * neither NVRTC nor the compiler of specs.
 *
 * kernels.S and kernels.h come from `maskc build --emit=asm` (examples/meson.build). Here the pack
 * has --arch=cpu, so that it can be built and run anywhere; a program for GPUs says for example
 * --arch=sm_80,sm_90a and opens "cuda:0".
 */
#include <maskc.h>

#include <stdio.h>
#include <string.h>

#include "kernels.h"

enum { T = 4, D = 64 };
static _Alignas(16) uint16_t ones[T][D], o[T][D]; /* bf16; ones is q, k and v */

static mkc_status create(mkc_context *context, const char *spec, mkc_op **ret) {
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_path = spec;
  options.device = "cpu";
  options.dk = options.dv = D;
  return mkc_op_create(context, &options, ret);
}

static mkc_status run(const mkc_op *op) {
  const mkc_tensor in = {ones, MKC_BF16, 4, {1, T, 1, D}, {T * D, D, D, 1}};
  mkc_tensor out = in, args[8] = {0};
  out.data = o;
  args[mkc_op_arg_index(op, "q")] = args[mkc_op_arg_index(op, "k")] = in;
  args[mkc_op_arg_index(op, "v")] = in;
  args[mkc_op_arg_index(op, "o")] = out;
  return mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL);
}

static float value(uint16_t bf16) {
  const uint32_t bits = (uint32_t)bf16 << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

int main(void) {
  mkc_context *context = NULL;
  mkc_op *op = NULL;
  for (int t = 0; t < T; t++)
    for (int i = 0; i < D; i++) ones[t][i] = 0x3f80; /* 1 */
  mkc_status status = mkc_context_create(NULL, &context);
  if (!status) status = mkc_context_add_pack_memory(context, kernels, sizeof kernels);
  if (!status) status = create(context, "linear_attention", &op);
  if (!status) status = mkc_op_prepare(op);
  if (!status) status = run(op);
  if (status) fprintf(stderr, "%s: %s\n", mkc_status_string(status), mkc_last_error());
  int right = !status;
  for (int t = 0; t < T; t++) {
    printf("%g%c", value(o[t][0]), t < T - 1 ? ' ' : '\n');
    right &=
        value(o[t][0]) == 8.0f * (float)(t + 1); /* dk^-0.5 of dk, once for each token so far */
  }
  mkc_op_destroy(op);
  mkc_context_destroy(context);
  return !right;
}
