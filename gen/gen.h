/* SPDX-License-Identifier: MIT
 * gen.h - the generator as its callers see it: a spec and a configuration in, a source out.
 *
 * gen.c is the visible list of passes:  load -> check -> plan -> emit.
 */
#ifndef MKC_GEN_H
#define MKC_GEN_H

#include "../runtime/base/alloc.h"
#include "../runtime/base/error.h"
#include "../runtime/source.h"

struct gen_config {
  const char *arch; /* "sm_90a" */
  mkc_pass pass;
  mkc_dtype dtype;
  int dk, dv;
  int chunk; /* 0: the planner's choice */
  int align; /* bytes that arrays over channels and their strides are multiples of: 16, 8, 4 or 2;
                0: what dk and dv allow */
  const mkc_setting *settings; /* values for the spec's options */
  int nsettings;
  int heads; /* B * H of the launches that the plan is for; 0: enough to fill the card */
  const struct allocator *allocator; /* of what the passes work in; NULL: malloc */
};

/* text: the spec, len bytes; path names it in messages and in #line.
 * Errors: MKC_E_SPEC, MKC_E_NO_SCHEDULE, MKC_E_ARCHITECTURE, MKC_E_ARGUMENT (a setting). */
mkc_status gen_op(const char *path, const char *text, size_t len, const struct gen_config *config,
                  struct op_source *ret, struct error *err);

/* Every file of specs/ and templates/ is embedded in the library. */
struct embedded_file {
  const char *name; /* "specs/retnet.lua", "templates/tile.h" */
  const char *data; /* NUL-terminated */
  size_t len;
};
extern const struct embedded_file embedded_files[];          /* ends with a NULL name */
const struct embedded_file *embedded_find(const char *name); /* NULL: no such file */

#endif
