/* SPDX-License-Identifier: MIT
 * cli.c - warnings and the context's log on standard error.
 */
#include "cli.h"

#include <stdarg.h>

void cli_warn(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  progress_clear();
  fputs("maskc: warning: ", stderr);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
}

void cli_log(void *user, int level, const char *line) {
  const struct cli *cli = user;
  if (level == 0)
    cli_warn("%s", line);
  else if (args_flag(&cli->args, OPTION_VERBOSE))
    fprintf(stderr, "maskc: %s\n", line);
}
