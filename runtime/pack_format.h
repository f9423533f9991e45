/* SPDX-License-Identifier: MIT
 * pack_format.h - where everything lies in a pack file; docs/pack-format.md says it in prose.
 *
 * Integers are little-endian and at any address, so that a pack can be read from any memory.
 *
 *   head     PACK_HEAD bytes
 *   specs    nspecs   x PACK_SPEC    sorted by name, then by the values of their options
 *   ops      nops     x PACK_OP      sorted by spec, pass, dtype, dk, dv, align, chunk
 *   options  noptions x PACK_OPTION  those of a spec lie together
 *   then, each at a multiple of PACK_ALIGN and in any order: records, one an op, and blobs, which
 *   records point to (source text, cubins, PTX)
 *
 * The head has the digest of itself and of the tables, an op that of its record, a record those of
 * its blobs: opening reads the tables, and using an op what belongs to it.
 */
#ifndef MKC_PACK_FORMAT_H
#define MKC_PACK_FORMAT_H

#include <stdint.h>
#include <string.h>

#include "base/sha256.h"

/* Counts changes of the layout, of what a record holds, and of how kernels take their arguments
 * (source.h): a library reads packs of its own number only. */
enum { PACK_VERSION = 1 };

#define PACK_MAGIC "\211mkpack\n" /* no text, and one that text modes of transfers break */
enum { PACK_MAGIC_BYTES = 8, PACK_ALIGN = 64, PACK_NAME = 64 };

enum pack_head {
  HEAD_MAGIC = 0,
  HEAD_VERSION = 8,     /* u32 */
  HEAD_FILE_BYTES = 16, /* u64 */
  HEAD_SPECS = 24,      /* u32 counts */
  HEAD_OPS = 28,
  HEAD_OPTIONS = 32,
  HEAD_NVRTC = 36,  /* u32: 1000 * major + 10 * minor of the NVRTC that compiled; 0: none did */
  HEAD_MASKC = 40,  /* text, 24: the version of maskc that built it */
  HEAD_DIGEST = 96, /* SHA-256 of the bytes before it and of the tables */
  PACK_HEAD = 128
};

enum pack_spec_entry {
  SPEC_NAME = 0,     /* text, PACK_NAME: the variant's */
  SPEC_DIGEST = 64,  /* SHA-256 of the spec's text */
  SPEC_OPTIONS = 96, /* u32: its first option */
  SPEC_NOPTIONS = 100,
  PACK_SPEC = 128
};

enum pack_op_entry {
  OP_SPEC = 0, /* u32: an index */
  OP_PASS = 4, /* u8 */
  OP_DTYPE = 5,
  OP_ALIGN = 6, /* u8: bytes that arrays are multiples of, as it was asked for: 16, 8, 4, 2 */
  OP_DK = 8,    /* u32 */
  OP_DV = 12,
  OP_CHUNK = 16,  /* u32: as it was asked for; 0: the planner's choice */
  OP_RECORD = 24, /* u64: offset */
  OP_RECORD_BYTES = 32,
  OP_RECORD_DIGEST = 40,
  PACK_OP = 80
};

enum pack_option_entry {
  OPTION_NAME = 0,
  OPTION_VALUE = 64,
  OPTION_DEFAULT = 68,
  PACK_OPTION = 72
};

/* What one code of an op is. Each has the source text, which is what the CPU device takes. */
enum pack_kind {
  PACK_SOURCE = 0, /* the text alone */
  PACK_CUBIN = 1,
  PACK_PTX = 2 /* ends in a NUL that counts */
};

static inline void pack_put(unsigned char *p, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) p[i] = (unsigned char)(value >> (8 * i));
}

static inline uint64_t pack_get(const unsigned char *p, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value |= (uint64_t)p[i] << (8 * i);
  return value;
}

static inline uint32_t pack_get32(const unsigned char *p) {
  return (uint32_t)pack_get(p, 4);
}

static inline int pack_compare(uint64_t a, uint64_t b) {
  return a < b ? -1 : a > b;
}

/* The order of ops: the fields of an entry up to the record, the first that differs decides. */
static inline int pack_op_compare(const unsigned char *a, const unsigned char *b) {
  static const struct {
    int at, bytes;
  } fields[] = {{OP_SPEC, 4}, {OP_PASS, 1},  {OP_DTYPE, 1}, {OP_DK, 4},
                {OP_DV, 4},   {OP_ALIGN, 1}, {OP_CHUNK, 4}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    const int order = pack_compare(pack_get(a + fields[i].at, fields[i].bytes),
                                   pack_get(b + fields[i].at, fields[i].bytes));
    if (order) return order;
  }
  return 0;
}

#endif
