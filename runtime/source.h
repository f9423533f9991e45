/* SPDX-License-Identifier: MIT
 * source.h - the bridge: what gen/ hands to runtime/, and all of it.
 *
 * Out of gen/: the text of one op, how to launch it and which arrays it takes. runtime/ compiles,
 * caches and launches it without knowing what a variant is; a pack stores the same struct.
 *
 * The kernel takes one struct by value, made of 8-byte slots only, so that the runtime can fill it
 * by offset on any host:
 *
 *   slot 0      B        batch, or sequences where cu_seqlens is there (int64)
 *   slot 1      T        tokens
 *   slot 2      H        heads of the output
 *   then for each array, in the order of the table, ARRAY_SLOTS slots:
 *               pointer, stride of batch, stride of token, stride of head (elements), heads
 *
 *   then, where max_levels says that there are levels:
 *               L, and the workspace that mkc_op_launch was given
 *
 * Strides and heads that the array's axes lack are 0 (a param "H" has a head stride and heads).
 * A state "BHkv" has its row stride, that of k, in the token's slot. In a pool "NHkv" the stride of
 * batch is that of a slot and N stands for heads; the array named state_index [B] says which slot
 * is whose, and without it N is B. A fenwick state, "BSHkv" or in a pool "NSHkv", has S = L - 1
 * slots a head, and their stride in the token's slot. There, in "NHkv" and in "BTHkv", the rows of
 * a matrix lie side by side. cu_seqlens, "C", packs sequences into a batch of one: sequence n is
 * the tokens cu_seqlens[n] up to cu_seqlens[n + 1] of every array that has tokens, and what has
 * none (states, "B") has the sequences for its B. Its numbers are int32 or int64; the slot of heads
 * says how many bytes.
 */
#ifndef MKC_SOURCE_H
#define MKC_SOURCE_H

#include "maskc.h"

enum { ARGS_HEAD_SLOTS = 3, ARRAY_SLOTS = 5, ARGS_LEVEL_SLOTS = 2, OP_MAX_ARRAYS = 24 };

struct op_array {
  char name[64];
  /* "C", "BTHk", "BTHv", "BTHL", "BTH", "B", "H", "Hk", "Hv", "HL", "BHkv", "BHk", "BSHkv",
   * "NHkv", "NHk", "NSHkv", "BTHkv" */
  char axes[6];
  mkc_dtype dtype;
  int output, optional;
  int align;    /* bytes that the pointer and every stride must be a multiple of */
  int in_place; /* an output that is read, too */
};

struct pack;

struct op_source {
  char *text;              /* the emitted kernel, NUL-terminated; owned */
  char *plan;              /* the plan as text, one line; owned */
  const struct pack *pack; /* where it comes from; NULL: the generator */
  const void *code;        /* a cubin or PTX of the pack's; NULL: it is to be compiled */
  size_t code_bytes;
  char name[64];  /* the variant */
  char entry[64]; /* the kernel's symbol */
  char arch[16];  /* "sm_90a" */
  int dk, dv, chunk;
  mkc_dtype dtype;
  mkc_pass pass;
  int threads;       /* a block */
  int smem_bytes;    /* dynamic shared memory a block */
  int blocks_a_head; /* grid = B * H * blocks_a_head blocks, along x */
  int max_levels;    /* the most that L may be; 0: no array has levels */
  int slot_bytes;    /* of workspace, for a block and a slot of its fenwick state */
  int max_tokens;    /* the most that T may be; 0: any number */
  int narrays;
  struct op_array arrays[OP_MAX_ARRAYS];
};

/* Where L is in the argument block. */
static inline int op_args_levels_slot(const struct op_source *s) {
  return ARGS_HEAD_SLOTS + ARRAY_SLOTS * s->narrays;
}

static inline size_t op_args_bytes(const struct op_source *s) {
  return 8u * (size_t)(op_args_levels_slot(s) + (s->max_levels ? ARGS_LEVEL_SLOTS : 0));
}

/* Bytes of workspace of a launch with this argument block and so many blocks; 0: none. */
static inline size_t op_args_workspace(const struct op_source *s, const void *args,
                                       long long blocks) {
  if (!s->max_levels) return 0;
  const int64_t levels = ((const int64_t *)args)[op_args_levels_slot(s)];
  return (size_t)s->slot_bytes * (size_t)(levels - 1) * (size_t)blocks;
}

/* The text without its #line directives, to read or to compile by hand; they point into templates
 * and specs, which the reader may not have. The caller frees it; NULL: out of memory. */
char *op_source_plain(const struct op_source *s);

void op_source_finish(struct op_source *s); /* frees what it owns; a zeroed struct is fine */

#endif
