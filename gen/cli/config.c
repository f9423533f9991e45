/* SPDX-License-Identifier: MIT
 * config.c - from options to a configuration of the generator, and whether it can serve it.
 */
#include "cli.h"

#include "../plan.h"

#include <stdint.h>
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

/* "window=64" */
static bool parse_setting(struct cli *cli, const char *text, mkc_setting *ret) {
  const char *equals = strchr(text, '=');
  int64_t value;
  if (!equals || equals == text || !parse_number(equals + 1, INT32_MIN, INT32_MAX, &value))
    return false;
  char *name = arena_strdup(&cli->arena, text);
  name[equals - text] = 0;
  *ret = (mkc_setting){name, (int)value};
  return true;
}

mkc_status cli_read_settings(struct cli *cli, struct error *err) {
  mkc_setting *settings = arena_array(&cli->arena, mkc_setting, cli->args.nvalues + 1);
  int cursor = 0;
  for (const char *text; (text = args_each(&cli->args, OPTION_SET, &cursor));)
    if (!parse_setting(cli, text, &settings[cli->nsettings++]))
      return error_set(err, MKC_E_USAGE,
                       "--set=%s: expected NAME=N, an option of the spec and a whole number", text);
  cli->settings = settings;
  return MKC_OK;
}

void json_options(struct json *j, const struct variant *v) {
  json_array(j, "options");
  for (int i = 0; i < v->noptions; i++) {
    json_object(j, NULL);
    json_string(j, "name", v->options[i].name);
    json_integer(j, "value", v->options[i].value);
    json_integer(j, "default", v->options[i].default_value);
    json_end(j);
  }
  json_end(j);
}

struct gen_config cli_config(const struct cli *cli) {
  const struct args *args = &cli->args;
  return (struct gen_config){
      .arch = args_text(args, OPTION_ARCH, "sm_90a"),
      .pass = pass_parse(args_text(args, OPTION_PASS, "forward")),
      .dtype = dtype_parse(args_text(args, OPTION_DTYPE, "bf16")),
      .dk = (int)args_number(args, OPTION_DK, 128),
      .dv = (int)args_number(args, OPTION_DV, 128),
      .chunk = (int)args_number(args, OPTION_CHUNK, 0),
      .align = atoi(args_text(args, OPTION_ALIGN, "0")),
      .settings = cli->settings,
      .nsettings = cli->nsettings,
      .heads = (int)args_number(args, OPTION_HEADS, 0),
  };
}

/* ---- lists ---- */

static void set_pass(struct gen_config *c, const char *item) {
  c->pass = pass_parse(item);
}

static void set_dtype(struct gen_config *c, const char *item) {
  c->dtype = dtype_parse(item);
}

static void set_dk(struct gen_config *c, const char *item) {
  c->dk = atoi(item);
}

static void set_dv(struct gen_config *c, const char *item) {
  c->dv = atoi(item);
}

/* Each configuration once for each item of the option's list; as they are where it is not given. */
static struct gen_config *multiply(struct cli *cli, enum option_id id,
                                   void (*set)(struct gen_config *, const char *),
                                   struct gen_config *configs, int *n) {
  char item[32];
  int items = 0, made = 0;
  for (const char *at = NULL; args_item(&cli->args, id, &at, item, sizeof item);) items++;
  if (!items) return configs;
  struct gen_config *ret = arena_array(&cli->arena, struct gen_config, *n * items);
  for (int i = 0; i < *n; i++)
    for (const char *at = NULL; args_item(&cli->args, id, &at, item, sizeof item);) {
      ret[made] = configs[i];
      set(&ret[made++], item);
    }
  *n = made;
  return ret;
}

struct gen_config *cli_configs(struct cli *cli, int *ret_n) {
  struct gen_config *configs = arena_new(&cli->arena, struct gen_config);
  *configs = cli_config(cli);
  *ret_n = 1;
  configs = multiply(cli, OPTION_PASS, set_pass, configs, ret_n);
  configs = multiply(cli, OPTION_DTYPE, set_dtype, configs, ret_n);
  configs = multiply(cli, OPTION_DK, set_dk, configs, ret_n);
  return multiply(cli, OPTION_DV, set_dv, configs, ret_n);
}

/* ---- architectures ---- */

static void add_arch(const char **archs, const char *name) {
  int n = 0;
  for (; archs[n]; n++)
    if (strcmp(archs[n], name) == 0) return;
  archs[n] = name;
}

/* "sm_80,sm_90a"; false: a name is empty. */
static bool add_archs(struct cli *cli, const char *text, const char **archs) {
  for (char *p = arena_strdup(&cli->arena, text); p;) {
    char *comma = strchr(p, ',');
    if (comma) *comma = 0;
    if (!*p) return false;
    if (strcmp(p, "all") == 0)
      for (int i = 0; target_at(i); i++) add_arch(archs, target_at(i)->arch);
    else
      add_arch(archs, p);
    p = comma ? comma + 1 : NULL;
  }
  return true;
}

mkc_status cli_archs(struct cli *cli, const char ***ret, struct error *err) {
  int cursor = 0, most = 2;
  for (const char *text; (text = args_each(&cli->args, OPTION_ARCH, &cursor));)
    most += (int)strlen(text); /* more than names */
  for (int i = 0; target_at(i); i++) most++;
  *ret = arena_array(&cli->arena, const char *, most);
  memset(*ret, 0, sizeof **ret * (size_t)most);
  cursor = 0;
  for (const char *text; (text = args_each(&cli->args, OPTION_ARCH, &cursor));)
    if (!add_archs(cli, text, *ret))
      return error_set(err, MKC_E_USAGE, "--arch=%s: an empty name", text);
  if (!**ret) add_arch(*ret, cli_config(cli).arch);
  return MKC_OK;
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
