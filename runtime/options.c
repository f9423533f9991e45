/* SPDX-License-Identifier: MIT
 * options.c - see options.h.
 */
#include "options.h"

#include <string.h>

enum { LARGEST_OPTIONS = 4096 }; /* more is a struct_size that nobody set */

mkc_status options_read(void *dst, size_t dst_size, const void *src, size_t src_size,
                        struct error *err) {
  const unsigned char *bytes = src;
  if (src_size < sizeof(size_t) || src_size > LARGEST_OPTIONS)
    return error_set(err, MKC_E_USAGE,
                     "the options' struct_size is %zu: begin with MKC_OP_OPTIONS_INIT or "
                     "MKC_CONTEXT_OPTIONS_INIT",
                     src_size);
  for (size_t i = dst_size; i < src_size; i++)
    if (bytes[i])
      return error_set(err, MKC_E_USAGE,
                       "the options set a field that this library (%s) does not know: the program "
                       "was built for a newer one",
                       MKC_VERSION_STRING);
  memcpy(dst, src, src_size < dst_size ? src_size : dst_size);
  memcpy(dst, &dst_size, sizeof dst_size);
  return MKC_OK;
}
