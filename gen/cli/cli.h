/* SPDX-License-Identifier: MIT
 * cli.h - what the commands of maskc share.
 *
 * A command reads its arguments and appends what it has to say to cli->out, as text or, under
 * --json, as one JSON object; main.c prints that, then the error if there was one, and turns the
 * status into an exit status (status / 1000). Warnings and progress go to standard error at once.
 * Memory that lasts as long as the command comes from cli->arena.
 */
#ifndef MKC_CLI_H
#define MKC_CLI_H

#include "../gen.h"
#include "../ir.h"
#include "json.h"
#include "options.h"
#include "term.h"

struct cli {
  struct args args;
  struct arena arena;
  struct buf out;
  struct term term; /* of standard output */
  bool json;
  const mkc_setting *settings; /* --set, in the arena */
  int nsettings;
  char **argv;     /* of main */
  int worker_exit; /* not 0: another process did the work, reported, and ended like this */
};

mkc_status cmd_check(struct cli *cli, struct error *err);
mkc_status cmd_show(struct cli *cli, struct error *err);
mkc_status cmd_build(struct cli *cli, struct error *err);
mkc_status cmd_run(struct cli *cli, struct error *err);
mkc_status cmd_list(struct cli *cli, struct error *err);
mkc_status list_pack(struct cli *cli, const char *path, struct error *err); /* of cmd_list */
mkc_status cmd_cache(struct cli *cli, struct error *err);
mkc_status cmd_help(struct cli *cli, struct error *err);
mkc_status cmd_doctor(struct cli *cli, struct error *err);

/* "maskc: warning: ..." on standard error. */
void cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The log hook of a context: warnings always, the rest under --verbose. user is the struct cli. */
void cli_log(void *user, int level, const char *line);

/* ---- specs (spec_file.c) ---- */

struct spec_file {
  const char *path; /* for messages: as given, or "specs/NAME.lua" */
  const char *text; /* NUL-terminated */
  size_t len;
  bool shipped; /* inside the program, no file */
};

/* SPEC as an operand: a shipped name, or a path (it has a '/' or ends in .lua). */
mkc_status spec_file_read(struct cli *cli, const char *operand, struct spec_file *ret,
                          struct error *err);
/* The same, loaded. */
mkc_status spec_file_load(struct cli *cli, const char *operand, struct spec_file *ret_file,
                          const struct variant **ret, struct error *err);

/* The names of the shipped specs, NULL at the end, in the arena. */
const char *const *shipped_specs(struct cli *cli);

/* ---- configuration (config.c) ---- */

/* Reads every --set NAME=N into cli->settings. Errors: MKC_E_USAGE. */
mkc_status cli_read_settings(struct cli *cli, struct error *err);
/* From --arch, --pass, --dtype, --dk, --dv, --chunk, ..., with the defaults that help names. */
struct gen_config cli_config(const struct cli *cli);
/* Every combination of --pass, --dtype, --dk and --dv, which may be lists, in the arena; *ret_n is
 * 1 where none is. */
struct gen_config *cli_configs(struct cli *cli, int *ret_n);
/* "options": [{name, value, default}, ...] of the variant */
void json_options(struct json *j, const struct variant *v);
/* Every --arch, split at commas, each once, NULL at the end; "all" is every one that the planner
 * knows. */
mkc_status cli_archs(struct cli *cli, const char ***ret, struct error *err);
const char *dtype_name(mkc_dtype dtype); /* "bf16" */

/* Whether a schedule serves the variant; *ret_why is what each lacks, in the arena. */
bool cli_has_schedule(struct cli *cli, const struct variant *v, const struct gen_config *config,
                      const char **ret_why);

#endif
