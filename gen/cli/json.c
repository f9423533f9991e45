/* SPDX-License-Identifier: MIT
 * json.c - see json.h. Indented by two spaces, one element a line.
 */
#include "json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 sequence at s, which has `left` bytes; 0 if it is malformed (overlong forms,
 * surrogates and values beyond U+10FFFF included). */
static size_t utf8_length(const unsigned char *s, size_t left) {
  const unsigned char c = s[0];
  if (c < 0x80) return 1;
  const size_t n = c >= 0xc2 && c < 0xe0   ? 2
                   : (c & 0xf0) == 0xe0    ? 3
                   : c >= 0xf0 && c < 0xf5 ? 4
                                           : 0;
  if (n == 0 || n > left) return 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if (c == 0xe0 && s[1] < 0xa0) return 0;
  if (c == 0xed && s[1] >= 0xa0) return 0;
  if (c == 0xf0 && s[1] < 0x90) return 0;
  if (c == 0xf4 && s[1] >= 0x90) return 0;
  return n;
}

static void write_escaped(struct buf *out, unsigned char c) {
  switch (c) {
  case '"': buf_puts(out, "\\\""); break;
  case '\\': buf_puts(out, "\\\\"); break;
  case '\n': buf_puts(out, "\\n"); break;
  case '\r': buf_puts(out, "\\r"); break;
  case '\t': buf_puts(out, "\\t"); break;
  default:
    if (c < 0x20 || c == 0x7f)
      buf_printf(out, "\\u%04x", c);
    else
      buf_write(out, &c, 1);
  }
}

static void write_string(struct buf *out, const char *text) {
  const unsigned char *s = (const unsigned char *)text;
  size_t left = strlen(text);
  buf_puts(out, "\"");
  while (left > 0) {
    const size_t n = utf8_length(s, left);
    if (n == 0)
      buf_puts(out, "\\ufffd");
    else if (n == 1)
      write_escaped(out, *s);
    else
      buf_write(out, s, n);
    s += n ? n : 1;
    left -= n ? n : 1;
  }
  buf_puts(out, "\"");
}

/* What goes before a value: the comma after its elder, the line break, its key. */
static void begin_value(struct json *j, const char *key) {
  if (j->depth > 0) {
    if (j->comma) buf_puts(j->out, ",");
    buf_printf(j->out, "\n%*s", 2 * j->depth, "");
  }
  j->comma = true;
  if (key) {
    write_string(j->out, key);
    buf_puts(j->out, ": ");
  }
}

static void open_value(struct json *j, const char *key, const char *open, char close) {
  assert(j->depth < JSON_MAX_DEPTH);
  begin_value(j, key);
  buf_puts(j->out, open);
  j->close[j->depth++] = close;
  j->comma = false;
}

void json_object(struct json *j, const char *key) {
  open_value(j, key, "{", '}');
}

void json_array(struct json *j, const char *key) {
  open_value(j, key, "[", ']');
}

void json_end(struct json *j) {
  assert(j->depth > 0);
  j->depth--;
  if (j->comma) buf_printf(j->out, "\n%*s", 2 * j->depth, "");
  buf_write(j->out, &j->close[j->depth], 1);
  if (j->depth == 0) buf_puts(j->out, "\n");
  j->comma = true;
}

void json_string(struct json *j, const char *key, const char *value) {
  begin_value(j, key);
  if (value)
    write_string(j->out, value);
  else
    buf_puts(j->out, "null");
}

/* The shortest of 15 to 17 digits that reads back as the same number. */
void json_number(struct json *j, const char *key, double value) {
  begin_value(j, key);
  if (!isfinite(value)) {
    buf_puts(j->out, "null");
    return;
  }
  char text[40];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    const double back = strtod(text, NULL);
    if (memcmp(&back, &value, sizeof back) == 0) break;
  }
  buf_puts(j->out, text);
}

void json_integer(struct json *j, const char *key, int64_t value) {
  begin_value(j, key);
  buf_printf(j->out, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value) {
  begin_value(j, key);
  buf_puts(j->out, value ? "true" : "false");
}
