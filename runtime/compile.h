/* SPDX-License-Identifier: MIT
 * compile.h - an op's source to PTX or a cubin: from the cache, or by NVRTC and into the cache.
 */
#ifndef MKC_COMPILE_H
#define MKC_COMPILE_H

#include "base/error.h"
#include "nvrtc.h"
#include "source.h"

/* *ret_code: *ret_len bytes, the caller's to free (a PTX text ends in a NUL that counts).
 * A hit does not open NVRTC; where there is none, what the one before compiled is a hit all the
 * same. Errors: those of nvrtc_locate and nvrtc_compile. */
mkc_status compile_source(mkc_context *ctx, const struct op_source *src, enum nvrtc_kind kind,
                          void **ret_code, size_t *ret_len, struct error *err);

#endif
