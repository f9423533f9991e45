/* SPDX-License-Identifier: MIT
 * op.h - the inside of an op: its source, its backend, and how arguments become a block of bytes.
 */
#ifndef MKC_OP_H
#define MKC_OP_H

#include "backend.h"
#include "base/alloc.h"
#include "base/error.h"
#include "pack_target.h"
#include "source.h"
#include "spec_text.h"

enum { OP_ARGS_MAX_BYTES = 8 * (ARGS_HEAD_SLOTS + ARRAY_SLOTS * OP_MAX_ARRAYS + ARGS_LEVEL_SLOTS) };

/* An op from a source that is there already, and that no other call finds. *source is taken over
 * (emptied), also on failure. */
mkc_status op_create_from_source(mkc_context *ctx, struct op_source *source,
                                 const struct backend *backend, int device, mkc_check check,
                                 mkc_op **ret, struct error *err);
const struct op_source *op_source_of(const mkc_op *op);

/* A spec through the generator, which works in memory of the allocator. The one place where
 * runtime/ calls gen/; without it (MKC_HAVE_GENERATOR 0) the answer is MKC_E_NO_GENERATOR. */
mkc_status op_generate(const mkc_op_options *options, const struct spec_text *spec,
                       const char *arch, const struct allocator *allocator, struct op_source *ret,
                       struct error *err);

/* The op from the context's packs, the first that has it (op_pack.c); *ret_found: whether one does.
 * Errors: MKC_E_FILE, a pack is damaged. */
mkc_status op_from_packs(mkc_context *ctx, const mkc_op_options *options,
                         const struct spec_text *spec, const struct pack_target *target,
                         bool *ret_found, struct op_source *ret, struct error *err);
/* Appends to err what the packs have that is most like it, if they have any of that spec. */
void op_nearest_in_packs(mkc_context *ctx, const mkc_op_options *options,
                         const struct spec_text *spec, struct error *err);

/* Checks the arrays against the op and writes the argument block (see source.h), op_args_bytes(s)
 * bytes, but for the workspace, and the number of blocks to launch. Allocates nothing unless it
 * fails. Errors: MKC_E_ARGUMENT, naming the array. */
mkc_status op_args_pack(const struct op_source *s, const mkc_tensor *args, int nargs, void *block,
                        long long *ret_blocks, struct error *err);

/* Writes the workspace to the block. Errors: MKC_E_ARGUMENT, too small or not aligned to 16 bytes.
 */
mkc_status op_args_set_workspace(const struct op_source *s, void *block, long long blocks,
                                 void *workspace, size_t bytes, struct error *err);

#endif
