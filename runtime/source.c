/* SPDX-License-Identifier: MIT
 * source.c - the bridge struct: its plain text, its end. See source.h.
 */
#include "source.h"

#include <stdlib.h>
#include <string.h>

void op_source_finish(struct op_source *s) {
  free(s->text);
  free(s->plan);
  *s = (struct op_source){0};
}

char *op_source_plain(const struct op_source *s) {
  char *plain = malloc(strlen(s->text) + 1), *to = plain;
  if (!plain) return NULL;
  for (const char *line = s->text; *line;) {
    const char *end = strchr(line, '\n');
    const size_t len = end ? (size_t)(end - line) + 1 : strlen(line);
    if (strncmp(line, "#line ", 6) != 0) {
      memcpy(to, line, len);
      to += len;
    }
    line += len;
  }
  *to = 0;
  return plain;
}
