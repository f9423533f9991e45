/* SPDX-License-Identifier: MIT
 * term.c - see term.h.
 */
#define _XOPEN_SOURCE 700
#include "term.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool wants_colour(FILE *stream, const char *choice) {
  if (strcmp(choice, "always") == 0) return true;
  if (strcmp(choice, "never") == 0 || !isatty(fileno(stream))) return false;
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  return !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void term_detect(FILE *stream, const char *choice, struct term *ret) {
  struct winsize size;
  setlocale(LC_CTYPE, "");
  ret->colour = wants_colour(stream, choice);
  ret->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
  ret->columns = 80;
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) ret->columns = size.ws_col;
}

void progress_show(const char *fmt, ...) {
  if (!isatty(STDERR_FILENO)) return;
  va_list ap;
  va_start(ap, fmt);
  fputs("\r\033[K", stderr);
  vfprintf(stderr, fmt, ap);
  fflush(stderr);
  va_end(ap);
}

void progress_clear(void) {
  if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}
