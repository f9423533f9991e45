/* SPDX-License-Identifier: MIT
 * op_generate.c - a spec's text, or the name of a shipped one, through the generator: the one call
 * from runtime/ into gen/. A build without the generator defines MKC_HAVE_GENERATOR as 0.
 */
#include "op.h"

#ifndef MKC_HAVE_GENERATOR
#define MKC_HAVE_GENERATOR 1
#endif

#if !MKC_HAVE_GENERATOR

mkc_status op_generate(const mkc_op_options *options, const struct spec_text *spec,
                       const char *arch, const struct allocator *allocator, struct op_source *ret,
                       struct error *err) {
  (void)options, (void)arch, (void)allocator, (void)ret;
  return error_set(err, MKC_E_NO_GENERATOR,
                   "%s: this build of the library has no generator: it runs what packs hold, and "
                   "none that was added has this op",
                   spec->path);
}

#else

#include <stdio.h>
#include <string.h>

#include "../gen/gen.h"

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

mkc_status op_generate(const mkc_op_options *options, const struct spec_text *spec,
                       const char *arch, const struct allocator *allocator, struct op_source *ret,
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
                                    .heads = options->heads,
                                    .allocator = allocator};
  return spec->text ? gen_op(spec->path, spec->text, spec->len, &config, ret, err)
                    : generate_shipped(spec->path, &config, ret, err);
}

#endif
