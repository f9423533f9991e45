/* SPDX-License-Identifier: MIT
 * options.c - see options.h.
 */
#include "options.h"

#include <stdbool.h>
#include <string.h>

enum { LARGEST_OPTIONS = 4096 }; /* more is a struct_size that nobody set */

static bool plausible(size_t struct_size) {
  return struct_size >= sizeof(size_t) && struct_size <= LARGEST_OPTIONS;
}

mkc_status options_read(void *dst, size_t dst_size, const void *src, size_t src_size,
                        struct error *err) {
  const unsigned char *bytes = src;
  if (!plausible(src_size))
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

mkc_status options_write(void *dst, size_t dst_size, const void *src, size_t src_size,
                         const char *init, struct error *err) {
  if (!plausible(dst_size))
    return error_set(err, MKC_E_USAGE, "the result's struct_size is %zu: begin with %s", dst_size,
                     init);
  unsigned char *bytes = dst;
  const size_t known = src_size < dst_size ? src_size : dst_size;
  memcpy(bytes, src, known);
  memset(bytes + known, 0, dst_size - known);
  memcpy(bytes, &dst_size, sizeof dst_size);
  return MKC_OK;
}
