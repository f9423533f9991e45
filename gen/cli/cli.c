/* SPDX-License-Identifier: MIT
 * cli.c - warnings and the context's log on standard error.
 */
#define _POSIX_C_SOURCE 200809L /* flockfile */
#include "cli.h"

#include <stdarg.h>

void cli_warn(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  flockfile(stderr); /* threads of a build may warn at once */
  progress_clear();
  fputs("maskc: warning: ", stderr);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  funlockfile(stderr);
  va_end(ap);
}

void cli_log(void *user, int level, const char *line) {
  const struct cli *cli = user;
  if (level == 0)
    cli_warn("%s", line);
  else if (args_flag(&cli->args, OPTION_VERBOSE))
    fprintf(stderr, "maskc: %s\n", line);
}
