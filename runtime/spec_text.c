/* SPDX-License-Identifier: MIT
 * spec_text.c - see spec_text.h.
 */
#include "spec_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SPEC_BYTES = 1 << 20 };

/* At most MAX_SPEC_BYTES + 1 bytes into text, which has room for a NUL more. */
static mkc_status read_into(FILE *f, const char *path, char *text, size_t *ret_len,
                            struct error *err) {
  errno = 0;
  const size_t n = fread(text, 1, MAX_SPEC_BYTES + 1, f);
  if (ferror(f)) return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  if (n > MAX_SPEC_BYTES)
    return error_set(err, MKC_E_FILE, "%s: larger than a spec may be (1 MiB)", path);
  text[n] = 0;
  *ret_len = n;
  return MKC_OK;
}

static mkc_status read_file(const char *path, struct spec_text *ret, struct error *err) {
  FILE *f = fopen(path, "rb");
  if (!f) return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  char *text = malloc(MAX_SPEC_BYTES + 2);
  const mkc_status st = text ? read_into(f, path, text, &ret->len, err)
                             : error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  fclose(f);
  if (!st) {
    ret->text = ret->owned = text;
  } else {
    free(text);
  }
  return st;
}

static bool is_path(const char *spec) {
  const size_t n = strlen(spec);
  return strchr(spec, '/') || (n > 4 && !strcmp(spec + n - 4, ".lua"));
}

mkc_status spec_text_read(const mkc_op_options *options, struct spec_text *ret, struct error *err) {
  const char *path = options->spec_path, *text = options->spec_text;
  *ret = (struct spec_text){.path = path ? path : "spec", .text = text};
  if (text) {
    ret->len = strlen(text);
    return MKC_OK;
  }
  if (!path || !*path)
    return error_set(err, MKC_E_USAGE, "no spec is given: set spec_path or spec_text");
  return is_path(path) ? read_file(path, ret, err) : MKC_OK;
}

void spec_text_finish(struct spec_text *s) {
  free(s->owned);
  *s = (struct spec_text){0};
}
