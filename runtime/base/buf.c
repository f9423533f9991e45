/* SPDX-License-Identifier: MIT
 * buf.c - growing text, see buf.h.
 */
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for `more` bytes and a NUL. */
static bool grow(struct buf *b, size_t more) {
  if (b->failed) return false;
  if (b->len + more + 1 <= b->cap) return true;
  size_t cap = b->cap ? b->cap : 256;
  while (cap < b->len + more + 1) cap *= 2;
  char *data = realloc(b->data, cap);
  if (!data) {
    b->failed = true;
    return false;
  }
  b->data = data;
  b->cap = cap;
  return true;
}

void buf_write(struct buf *b, const void *data, size_t len) {
  if (!grow(b, len)) return;
  memcpy(b->data + b->len, data, len);
  b->len += len;
  b->data[b->len] = 0;
}

void buf_puts(struct buf *b, const char *s) {
  buf_write(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  const int n = vsnprintf(NULL, 0, fmt, ap);
  if (n < 0) {
    b->failed = true;
  } else if (grow(b, (size_t)n)) {
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
  }
  va_end(again);
  va_end(ap);
}

const char *buf_text(const struct buf *b) {
  return b->data ? b->data : "";
}

char *buf_steal(struct buf *b) {
  char *data = b->failed ? NULL : b->data ? b->data : calloc(1, 1);
  if (b->failed) free(b->data);
  *b = (struct buf){0};
  return data;
}

void buf_finish(struct buf *b) {
  free(b->data);
  *b = (struct buf){0};
}

void buf_number(struct buf *b, double x, int digits) {
  char text[40];
  snprintf(text, sizeof text, "%.*g", digits, x);
  for (char *c = text; *c; c++)
    if (!strchr("0123456789+-einfa", *c)) *c = '.'; /* the locale's decimal point */
  buf_puts(b, text);
}
