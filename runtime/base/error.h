/* SPDX-License-Identifier: MIT
 * error.h - an error as a value: a status and a text that a person can act on.
 *
 * Functions that can fail return mkc_status and take a struct error last. The text is heap memory
 * that grows (a compiler's log may be long); error_finish frees it. When even that allocation fails
 * the text is a constant. The innermost function writes the message; callers may prefix it.
 *
 *   return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
 */
#ifndef MKC_ERROR_H
#define MKC_ERROR_H

#include "../maskc.h"

struct error {
  mkc_status status;
  char *text;    /* NULL while status is MKC_OK */
  char *file;    /* where it is, for a program; NULL: nowhere */
  int line, col; /* from 1; col counts bytes */
};

/* Replaces what was there; returns status, so that it can stand in a return. */
mkc_status error_set(struct error *err, mkc_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends to the text, for a log or a hint. */
void error_append(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Says also apart where the error is; the text has it already. */
void error_place(struct error *err, const char *file, int line, int col);
const char *error_text(const struct error *err); /* never NULL */
void error_finish(struct error *err);            /* back to MKC_OK */

#endif
