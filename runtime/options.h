/* SPDX-License-Identifier: MIT
 * options.h - structs of the public API that begin with their size, from and for callers who may
 * have been built with an older or a newer header.
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

/* The other way: *src, src_size bytes, is what there is to tell; *dst has dst_size (its
 * struct_size, which stays). An older caller gets as much as its struct holds, a newer one zeros in
 * fields that this library does not know. Errors: MKC_E_USAGE; init names what sets the size. */
mkc_status options_write(void *dst, size_t dst_size, const void *src, size_t src_size,
                         const char *init, struct error *err);

#endif
