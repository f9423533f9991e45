/* SPDX-License-Identifier: MIT
 * spec_text.h - what the options of an op call its spec: a text, a file, or the name of a shipped
 * one, whose text only the generator has.
 */
#ifndef MKC_SPEC_TEXT_H
#define MKC_SPEC_TEXT_H

#include <stddef.h>

#include "base/error.h"

struct spec_text {
  const char *text; /* len bytes and a NUL; NULL: spec_path is the name of a shipped spec */
  size_t len;
  char *file; /* the same, where it was read from a file; owned */
};

/* Errors: MKC_E_FILE, MKC_E_USAGE (no spec is given), MKC_E_OUT_OF_MEMORY. */
mkc_status spec_text_open(const mkc_op_options *options, struct spec_text *ret, struct error *err);
void spec_text_close(struct spec_text *s);

#endif
