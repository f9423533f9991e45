/* SPDX-License-Identifier: MIT
 * main.c - the program maskc: dispatches to a command, prints, exits. The only file that does.
 *
 * Exit status: 0 done; 1 the input is wrong; 2 usage; 3 the environment lacks something; 4 a bug of
 * ours; 5 the result is out of tolerance.
 */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

static mkc_status cmd_version(struct cli *cli, struct error *err) {
  (void)err;
  buf_printf(&cli->out, "maskc %s\n", mkc_version());
  return MKC_OK;
}

static mkc_status dispatch(struct cli *cli, struct error *err) {
  static mkc_status (*const run[COMMAND_COUNT])(struct cli *, struct error *) = {
      [COMMAND_CHECK] = cmd_check, [COMMAND_SHOW] = cmd_show, [COMMAND_BUILD] = cmd_build,
      [COMMAND_RUN] = cmd_run,     [COMMAND_LIST] = cmd_list, [COMMAND_DOCTOR] = cmd_doctor,
      [COMMAND_CACHE] = cmd_cache, [COMMAND_HELP] = cmd_help, [COMMAND_VERSION] = cmd_version,
  };
  if (args_flag(&cli->args, OPTION_HELP)) {
    help_command(&cli->out, cli->args.command);
    return MKC_OK;
  }
  term_detect(stdout, args_text(&cli->args, OPTION_COLOR, "auto"), &cli->term);
  cli->json = args_flag(&cli->args, OPTION_JSON);
  const mkc_status status = cli_read_settings(cli, err);
  return status ? status : run[cli->args.command](cli, err);
}

/* Runs the command; memory that runs out in its arena ends here. */
static mkc_status run_command(struct cli *cli, struct error *err) {
  jmp_buf out_of_memory;
  arena_init(&cli->arena, &out_of_memory);
  const mkc_status status = setjmp(out_of_memory)
                                ? error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory")
                                : dispatch(cli, err);
  arena_finish(&cli->arena);
  return status;
}

/* Under --json a program reads standard output, so the error goes there too. */
static void add_json_error(struct buf *out, const struct error *err) {
  struct json j = {.out = out};
  json_object(&j, NULL);
  json_object(&j, "error");
  json_integer(&j, "status", err->status);
  json_string(&j, "kind", mkc_status_string(err->status));
  json_string(&j, "message", error_text(err));
  json_string(&j, "file", err->file);
  json_number(&j, "line", err->file ? err->line : HUGE_VAL);
  json_number(&j, "col", err->file ? err->col : HUGE_VAL);
  json_end(&j);
  json_end(&j);
}

/* A message about a spec starts with its file and line and is left as it is. */
static void print_error(const struct error *err, const struct args *args) {
  progress_clear();
  const char *text = error_text(err);
  const size_t len = strlen(text);
  fprintf(stderr, "%s%s%s", err->status == MKC_E_SPEC ? "" : "maskc: error: ", text,
          len > 0 && text[len - 1] == '\n' ? "" : "\n");
  if (err->status == MKC_E_USAGE && args->operands)
    fprintf(stderr, "'maskc help %s' explains its options\n", command_table[args->command].name);
  if (mkc_status_category(err->status) == MKC_CATEGORY_INTERNAL)
    fputs("This is a bug of maskc; please report it with the command and the spec.\n", stderr);
}

static mkc_status print_out(struct buf *out, struct error *err) {
  if (out->failed) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  if (fwrite(buf_text(out), 1, out->len, stdout) == out->len && fflush(stdout) == 0) return MKC_OK;
  return error_set(err, MKC_E_SYSTEM, "standard output: %s", strerror(errno));
}

int main(int argc, char **argv) {
  struct cli cli = {.argv = argv};
  struct error err = {0};
  if (argc < 2) {
    help_overview(&cli.out);
    fputs(buf_text(&cli.out), stderr);
    buf_finish(&cli.out);
    return 2;
  }
  cli.json = args_want_json(argc - 1, argv + 1);
  mkc_status status = args_parse(argc - 1, argv + 1, &cli.args, &err);
  if (!status) status = run_command(&cli, &err);
  if (status && cli.json && cli.out.len == 0) add_json_error(&cli.out, &err);
  struct error print_err = {0};
  const mkc_status printed = print_out(&cli.out, &print_err);
  if (status) print_error(&err, &cli.args);
  if (printed) print_error(&print_err, &cli.args);
  if (!status) status = printed;
  args_finish(&cli.args);
  buf_finish(&cli.out);
  error_finish(&err);
  error_finish(&print_err);
  return status ? (int)mkc_status_category(status) : cli.worker_exit;
}
