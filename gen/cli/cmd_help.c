/* SPDX-License-Identifier: MIT
 * cmd_help.c - maskc help: for people, for man, and for shells.
 */
#include "cli.h"

mkc_status cmd_help(struct cli *cli, struct error *err) {
  const struct args *args = &cli->args;
  const char *name = args->noperands > 0 ? args->operands[0] : NULL;
  const char *shell = args_text(args, OPTION_COMPLETION, NULL);
  const bool man = args_flag(args, OPTION_MAN);
  if ((man && shell) || (name && (man || shell)))
    return error_set(err, MKC_E_USAGE, "expected one of COMMAND, --man and --completion=SHELL");
  if (man) {
    help_man(&cli->out);
  } else if (shell) {
    help_completion(&cli->out, shell, shipped_specs(cli));
  } else if (name) {
    const int id = command_find(name);
    if (id < 0) return command_unknown(name, err);
    help_command(&cli->out, (enum command_id)id);
  } else {
    help_overview(&cli->out);
  }
  return MKC_OK;
}
