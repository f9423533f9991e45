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

/* *ret: the whole file, NUL-terminated, the caller's to free. */
static mkc_status read_file(const char *path, char **ret, size_t *ret_len, struct error *err) {
  FILE *f = fopen(path, "rb");
  if (!f) return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  char *text = malloc(MAX_SPEC_BYTES + 2);
  const mkc_status st = text ? read_into(f, path, text, ret_len, err)
                             : error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  fclose(f);
  if (!st) {
    *ret = text;
  } else {
    free(text);
  }
  return st;
}

static bool is_path(const char *spec) {
  const size_t n = strlen(spec);
  return strchr(spec, '/') || (n > 4 && !strcmp(spec + n - 4, ".lua"));
}

mkc_status spec_text_open(const mkc_op_options *options, struct spec_text *ret, struct error *err) {
  const char *path = options->spec_path;
  *ret = (struct spec_text){.text = options->spec_text};
  if (ret->text) {
    ret->len = strlen(ret->text);
    return MKC_OK;
  }
  if (!path || !*path)
    return error_set(err, MKC_E_USAGE, "no spec is given: set spec_path or spec_text");
  if (!is_path(path)) return MKC_OK;
  const mkc_status st = read_file(path, &ret->file, &ret->len, err);
  ret->text = ret->file;
  return st;
}

void spec_text_close(struct spec_text *s) {
  free(s->file);
  *s = (struct spec_text){0};
}
