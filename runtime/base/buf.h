/* SPDX-License-Identifier: MIT
 * buf.h - growing text. Always NUL-terminated once anything was written; a failed allocation sets
 * `failed` and drops the rest, so that a writer checks once, at the end.
 */
#ifndef MKC_BUF_H
#define MKC_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
  char *data;
  size_t len, cap;
  bool failed;
};

void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_write(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
/* %.{digits}g with a '.' whatever the locale */
void buf_number(struct buf *b, double x, int digits);
const char *buf_text(const struct buf *b); /* "" when empty */
char *buf_steal(struct buf *b); /* the text, now the caller's to free; NULL if a write failed */
void buf_finish(struct buf *b);

#endif
