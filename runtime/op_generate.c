/* SPDX-License-Identifier: MIT
 * op_generate.c - a spec's file, name or text, through the generator: the one call from runtime/
 * into gen/. A build without the generator defines MKC_HAVE_GENERATOR as 0.
 */
#include "op.h"

#ifndef MKC_HAVE_GENERATOR
#define MKC_HAVE_GENERATOR 1
#endif

#if !MKC_HAVE_GENERATOR

mkc_status op_generate(const mkc_op_options *options, const char *arch, struct op_source *ret,
                       struct error *err) {
  (void)options, (void)arch, (void)ret;
  return error_set(err, MKC_E_NO_GENERATOR,
                   "this build of the library has no generator, and so takes no specs");
}

#else

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gen/gen.h"

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

static mkc_status unknown_spec(const char *name, struct error *err) {
  error_set(err, MKC_E_FILE, "no spec named \"%s\" is shipped; there are", name);
  const char *comma = " ";
  for (const struct embedded_file *f = embedded_files; f->name; f++) {
    if (strncmp(f->name, "specs/", 6) != 0) continue;
    error_append(err, "%s%.*s", comma, (int)strcspn(f->name + 6, "."), f->name + 6);
    comma = ", ";
  }
  error_append(err, " (a file is given by a path with a / in it, or ending in .lua)");
  return MKC_E_FILE;
}

static mkc_status generate_shipped(const char *name, const struct gen_config *config,
                                   struct op_source *ret, struct error *err) {
  char path[128];
  const int n = snprintf(path, sizeof path, "specs/%s.lua", name);
  const struct embedded_file *file = n > 0 && (size_t)n < sizeof path ? embedded_find(path) : NULL;
  if (!file) return unknown_spec(name, err);
  return gen_op(path, file->data, file->len, config, ret, err);
}

static mkc_status generate_file(const char *path, const struct gen_config *config,
                                struct op_source *ret, struct error *err) {
  char *text = NULL;
  size_t len = 0;
  mkc_status st = read_file(path, &text, &len, err);
  if (st) return st;
  st = gen_op(path, text, len, config, ret, err);
  free(text);
  return st;
}

mkc_status op_generate(const mkc_op_options *options, const char *arch, struct op_source *ret,
                       struct error *err) {
  const struct gen_config config = {.arch = arch,
                                    .pass = options->pass,
                                    .dtype = options->dtype,
                                    .dk = options->dk,
                                    .dv = options->dv,
                                    .chunk = options->chunk,
                                    .align = options->align,
                                    .settings = options->settings,
                                    .nsettings = options->nsettings,
                                    .heads = options->heads};
  const char *path = options->spec_path, *text = options->spec_text;
  if (text) return gen_op(path ? path : "spec", text, strlen(text), &config, ret, err);
  if (!path || !*path)
    return error_set(err, MKC_E_USAGE, "no spec is given: set spec_path or spec_text");
  return is_path(path) ? generate_file(path, &config, ret, err)
                       : generate_shipped(path, &config, ret, err);
}

#endif
