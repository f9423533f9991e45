/* SPDX-License-Identifier: MIT
 * spec_text.h - what mkc_op_options say of the spec: a text, a file that is read, or a name.
 */
#ifndef MKC_SPEC_TEXT_H
#define MKC_SPEC_TEXT_H

#include <stddef.h>

#include "base/error.h"

struct spec_text {
  const char *path; /* for messages; the name, where text is NULL */
  const char *text; /* len bytes and a NUL; NULL: only a name is given */
  size_t len;
  char *owned; /* what was read, or NULL */
};

/* A path has a / in it or ends in .lua; anything else is a name. Errors: MKC_E_FILE, MKC_E_USAGE
 * (neither is given). */
mkc_status spec_text_read(const mkc_op_options *options, struct spec_text *ret, struct error *err);
void spec_text_finish(struct spec_text *s);

#endif
