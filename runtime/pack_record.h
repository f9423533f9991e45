/* SPDX-License-Identifier: MIT
 * pack_record.h - the record of an op in a pack: what struct op_source holds, once for each
 * architecture, and where the text and the compiled code lie.
 *
 *   u32 number of codes, then of each:
 *     u32 kind (enum pack_kind)
 *     text[16] arch   text[64] entry
 *     u32 chunk, threads, smem_bytes, blocks_a_head, max_levels, slot_bytes, max_tokens
 *     blob source   blob code (all zero when there is none)
 *     u32 length of the plan, its text
 *     u32 number of arrays, then of each:
 *       text[64] name   text[8] axes   u32 dtype, align, flags (1 output, 2 optional, 4 in_place)
 *
 * A text[n] is filled up with NULs, at least one. A blob is u64 offset, u64 bytes, its SHA-256.
 * name, pass, dtype, dk and dv of the op_source are in the tables, not here.
 */
#ifndef MKC_PACK_RECORD_H
#define MKC_PACK_RECORD_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "pack_format.h"
#include "source.h"

struct pack_blob {
  uint64_t offset, bytes; /* 0 bytes: none */
  unsigned char digest[SHA256_BYTES];
};

struct pack_code {
  enum pack_kind kind;
  struct pack_blob text, code;
  struct op_source source; /* read: without its text and its plan */
  const char *plan;        /* read: plan_bytes of the record, without a NUL */
  size_t plan_bytes;
};

/* Appends the number of codes, or one of them. */
void pack_record_begin(struct buf *out, int ncodes);
void pack_record_add(struct buf *out, const struct pack_code *code);

struct pack_cursor {
  const unsigned char *at, *end;
  bool failed; /* read past the end, or something that cannot be */
};

/* The number of codes; then pack_record_next that often. What they read is 0 once they failed. */
uint32_t pack_record_open(struct pack_cursor *c, const void *record, size_t bytes);
void pack_record_next(struct pack_cursor *c, struct pack_code *ret);

#endif
