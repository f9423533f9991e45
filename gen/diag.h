/* SPDX-License-Identifier: MIT
 * diag.h - what is wrong with a spec, and where.
 *
 * Whoever finds the first error says what, near which word and how to put it right; whoever knows
 * the line adds it; diag_render finds the column in the text and writes
 *
 *   retnet.lua:4:20: error: decay takes a factor in [0,1]; exp(g) may exceed 1
 *     transition = { decay(exp(input "g")) },
 *                    ^~~~~
 *     note: if the gate is never positive say input { "g", max = 0 }
 */
#ifndef MKC_DIAG_H
#define MKC_DIAG_H

#include "../runtime/base/arena.h"
#include "../runtime/base/buf.h"

#include <stdbool.h>

struct diag {
  struct arena *arena;
  const char *message; /* NULL: nothing is wrong so far */
  const char *note;    /* what would be valid; may be NULL */
  int line;            /* from 1; 0: not known */
  const char *word;    /* what the caret goes under: a name, an operator, the content of a string
                          (of a string only: "\"x\""); NULL: the line's first character */
  /* where word stands in the line more than once: */
  bool last;          /* it is the last of them */
  const char *before; /* it is the last before this word; may be NULL */
  const char *field;  /* a field of the variant, "mask": its place beats line and word */
  int branch;         /* the field's branch, from 1; 0: the variant itself */
};

/* Says what is wrong. Only the first error counts. */
void diag_error(struct diag *d, const char *word, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void diag_note(struct diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "x\n" as "\"x\\n\"": any bytes made safe to print, shortened after 48. */
const char *diag_quote(struct arena *a, const char *s, size_t len);
/* Bytes of a spec without control characters and broken UTF-8, which become '?'. */
void diag_put_clean(struct buf *out, const char *s, size_t len);

/* Writes the message for the spec's text; *ret_line and *ret_col: the place that it names. */
void diag_render(const struct diag *d, struct buf *out, const char *path, const char *text,
                 size_t len, int *ret_line, int *ret_col);

/* The name of the list that a user most likely meant: at most 3 edits away, and half of the word;
 * NULL: none. Capitals count as small letters. Ties: the first. */
const char *diag_nearest(const char *word, const char *const *names);

#endif
