/* SPDX-License-Identifier: MIT
 * guard.h - copies of an op's arrays for a checked launch, in which each sequence of each head lies
 * by itself between rows of poison: a read past a sequence's end finds NaN there, AddressSanitizer
 * or the race checker, not the next sequence or the next head. Sequences that cu_seqlens packs stay
 * side by side: there the poison is around all of them.
 *
 *   guard_create(source, args, &guard, err);
 *   launch on guard_args(guard);
 *   guard_copy_back(guard);
 *   guard_destroy(guard);
 */
#ifndef MKC_CPU_GUARD_H
#define MKC_CPU_GUARD_H

#include "../base/buf.h"
#include "../base/error.h"
#include "../source.h"

struct guard;

/* args: the argument block of a launch, op_args_bytes(source) bytes. *ret is destroyed by the
 * caller, before source is. Errors: MKC_E_OUT_OF_MEMORY. */
mkc_status guard_create(const struct op_source *source, const void *args, struct guard **ret,
                        struct error *err);
void guard_destroy(struct guard *g); /* NULL is fine */

/* The argument block, on the copies. */
const void *guard_args(const struct guard *g);

/* The outputs, to where the launch wanted them. */
void guard_copy_back(const struct guard *g);

/* What these bytes are: an array's, poison at least in part, or none of the guard's. */
enum guard_place { GUARD_ARRAY, GUARD_POISON, GUARD_ELSEWHERE };
enum guard_place guard_look(const struct guard *g, const void *p, size_t bytes);

/* Appends "v[0,150,1,8], past the end of the sequence"; false: p is none of the guard's memory. The
 * index has the array's axes. */
bool guard_print(const struct guard *g, const void *p, struct buf *out);

#endif
