/* SPDX-License-Identifier: MIT
 * 03_own_spec.c - a mask of the program's own: a spec as a string, compiled while the program runs.
 *
 * The spec's state fades to a half in `half_life` tokens, an option of it that the program sets.
 * The first try has a mistake in it, to show what a program learns of one.
 */
#include <maskc.h>

#include <stdio.h>
#include <string.h>

static const char wrong[] = "return variant { name = 'fading', transition = { decay(2) } }\n";
static const char fading[] = "local life = option { 'half_life', 1 }\n"
                             "return variant {\n"
                             "  name = 'fading',\n"
                             "  scale = dk^-0.5,\n"
                             "  transition = { decay(0.5^(1/life)) },\n"
                             "}\n";

enum { T = 4, D = 64 };
static _Alignas(16) uint16_t ones[T][D], o[T][D]; /* bf16; ones is q, k and v */

static mkc_status create(mkc_context *context, const char *spec, int half_life, mkc_op **ret) {
  const mkc_setting settings[] = {{"half_life", half_life}};
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_text = spec;
  options.spec_path = "fading.lua"; /* its name in messages */
  options.device = "cpu";
  options.dk = options.dv = D;
  options.settings = settings; /* copied */
  options.nsettings = spec == fading;
  return mkc_op_create(context, &options, ret);
}

/* What a program does with a failure depends on whose it is. */
static void explain(mkc_status status) {
  switch (mkc_status_category(status)) {
  case MKC_CATEGORY_INPUT: printf("the spec is refused:\n%s\n", mkc_last_error()); break;
  case MKC_CATEGORY_ENVIRONMENT: printf("not here: %s\n", mkc_last_error()); break;
  default: printf("%s: %s\n", mkc_status_string(status), mkc_last_error()); break;
  }
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
  mkc_op *op = NULL, *same = NULL;
  for (int t = 0; t < T; t++)
    for (int i = 0; i < D; i++) ones[t][i] = 0x3f80; /* 1 */
  mkc_status status = mkc_context_create(NULL, &context);
  if (!status && (status = create(context, wrong, 1, &op)) == MKC_E_SPEC) {
    explain(status);
    status = create(context, fading, 1, &op);
  }
  if (!status) status = mkc_op_prepare(op);
  if (!status) status = create(context, fading, 1, &same); /* found: the same op, prepared */
  if (!status) status = run(same);
  if (status) explain(status);
  /* 1, 1.5, 1.75, 1.875 in every element of the state; dk^-0.5 of the sum of dk of them: */
  const int right = !status && same == op && value(o[0][0]) == 8 && value(o[1][0]) == 12 &&
                    value(o[2][0]) == 14 && value(o[3][0]) == 15;
  for (int t = 0; t < T; t++) printf("%g%c", value(o[t][0]), t < T - 1 ? ' ' : '\n');
  mkc_context_destroy(context); /* any order */
  mkc_op_destroy(same);
  mkc_op_destroy(op);
  return !right;
}
