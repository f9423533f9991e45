/* SPDX-License-Identifier: MIT
 * options.h - reads an options struct of the public API, which an older or a newer caller may have
 * been built with.
 */
#ifndef MKC_OPTIONS_H
#define MKC_OPTIONS_H

#include <stddef.h>

#include "base/error.h"

/* *dst holds the defaults, dst_size bytes. src has src_size (its struct_size): a smaller one is an
 * older caller's, whose missing fields keep their defaults; a larger one is a newer caller's, whose
 * further fields must be zero. Errors: MKC_E_USAGE. */
mkc_status options_read(void *dst, size_t dst_size, const void *src, size_t src_size,
                        struct error *err);

#endif
