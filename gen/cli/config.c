/* SPDX-License-Identifier: MIT
 * config.c - from options to a configuration of the generator, and whether it can serve it.
 */
#include "cli.h"

#include "../plan.h"

#include <stdlib.h>
#include <string.h>

static mkc_pass pass_parse(const char *name) {
  return strcmp(name, "step") == 0 ? MKC_STEP : MKC_FORWARD;
}

static mkc_dtype dtype_parse(const char *name) {
  return strcmp(name, "fp32") == 0 ? MKC_F32 : strcmp(name, "fp16") == 0 ? MKC_F16 : MKC_BF16;
}

const char *dtype_name(mkc_dtype dtype) {
  switch (dtype) {
  case MKC_F32: return "fp32";
  case MKC_BF16: return "bf16";
  case MKC_F16: return "fp16";
  case MKC_I32: return "int32";
  case MKC_I64: return "int64";
  }
  return "?";
}

struct gen_config cli_config(const struct args *args) {
  return (struct gen_config){
      .arch = args_text(args, OPTION_ARCH, "sm_90a"),
      .pass = pass_parse(args_text(args, OPTION_PASS, "forward")),
      .dtype = dtype_parse(args_text(args, OPTION_DTYPE, "bf16")),
      .dk = (int)args_number(args, OPTION_DK, 128),
      .dv = (int)args_number(args, OPTION_DV, 128),
      .chunk = (int)args_number(args, OPTION_CHUNK, 0),
      .align = atoi(args_text(args, OPTION_ALIGN, "0")),
  };
}

bool cli_has_schedule(struct cli *cli, const struct variant *v, const struct gen_config *config,
                      const char **ret_why) {
  const struct plan *plans;
  int n;
  struct error err = {0};
  const bool has = plan_op(v, config, &cli->arena, &plans, &n, &err) == MKC_OK;
  *ret_why = has ? NULL : arena_strdup(&cli->arena, error_text(&err));
  error_finish(&err);
  return has;
}
