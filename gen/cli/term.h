/* SPDX-License-Identifier: MIT
 * term.h - what the terminal can show, and progress of long work.
 */
#ifndef MKC_CLI_TERM_H
#define MKC_CLI_TERM_H

#include <stdbool.h>
#include <stdio.h>

struct term {
  bool colour; /* escape sequences for colours are welcome */
  bool utf8;   /* block characters are */
  int columns; /* 80 when it is no terminal */
};

/* choice: "auto" (colours on a terminal, unless NO_COLOR is set or TERM is dumb), "always",
 * "never". Sets LC_CTYPE from the environment, the only part of the locale that maskc uses. */
void term_detect(FILE *stream, const char *choice, struct term *ret);

/* A line on standard error that the next one overwrites; nothing when that is no terminal. */
void progress_show(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void progress_clear(void);

#endif
