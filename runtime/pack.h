/* SPDX-License-Identifier: MIT
 * pack.h - a pack, opened: a file of compiled ops in, the op that serves a request out.
 *
 * The file is mapped, and stays so until pack_close; memory that was given is used where it is.
 * Opening checks the head and the tables against their digest, an op's record and blobs are checked
 * when that op is taken; so that a large pack opens in less than a millisecond and damage is never
 * loaded. A pack runs as code of the process: its digests find damage, not malice. No byte of one
 * can make this reader leave the memory of the pack.
 *
 * Every error is MKC_E_FILE and names the pack.
 */
#ifndef MKC_PACK_H
#define MKC_PACK_H

#include "pack_record.h"
#include "pack_target.h"

struct pack;

mkc_status pack_open(const char *path, struct pack **ret, struct error *err);
/* The memory stays the caller's and must stay there until pack_close; any alignment will do. */
mkc_status pack_open_memory(const void *data, size_t bytes, struct pack **ret, struct error *err);
void pack_close(struct pack *p); /* NULL is fine */

const char *pack_name(const struct pack *p); /* its path, or "the pack in memory" */
int pack_nvrtc(const struct pack *p);        /* 13000: NVRTC 13.0 compiled it; 0: nothing did */
const char *pack_maskc(const struct pack *p);

/* ---- what it holds ---- */

struct pack_spec {
  const char *name;
  const unsigned char *digest; /* of the spec's text, SHA256_BYTES */
  int first_option, noptions;
};
struct pack_option {
  const char *name;
  int value, default_value;
};
struct pack_op {
  int spec;
  mkc_pass pass;
  mkc_dtype dtype;
  int align, dk, dv, chunk;
  const unsigned char *entry; /* in the table */
};

int pack_spec_count(const struct pack *p);
int pack_op_count(const struct pack *p);
void pack_spec_at(const struct pack *p, int index, struct pack_spec *ret);
void pack_option_at(const struct pack *p, int index, struct pack_option *ret);
void pack_op_at(const struct pack *p, int index, struct pack_op *ret);

/* The record of an op, checked; then pack_code_next until it is false. */
struct pack_codes {
  struct pack_cursor cursor;
  uint32_t left;
};
mkc_status pack_codes_open(const struct pack *p, const struct pack_op *op, struct pack_codes *ret,
                           struct error *err);
bool pack_code_next(struct pack_codes *codes, struct pack_code *ret);

/* Checks the code's blobs and makes the op_source of it, *ret, the caller's to finish; the compiled
 * code in it is borrowed from the pack. */
mkc_status pack_take(const struct pack *p, const struct pack_op *op, const struct pack_code *code,
                     struct op_source *ret, struct error *err);

/* ---- finding (pack_find.c) ---- */

struct pack_request {
  const char *name;            /* of a spec; or NULL, and ... */
  const unsigned char *digest; /* ... the digest of its text */
  const mkc_setting *settings;
  int nsettings;
  mkc_pass pass;
  mkc_dtype dtype;
  int dk, dv;
  int chunk; /* 0: any */
  int align; /* 0: 16 */
  struct pack_target target;
};

struct pack_match {
  struct pack_op op;
  struct pack_code code;
};

/* *ret_found: whether the pack has an op that serves the request; the best of them is *ret. */
mkc_status pack_find(const struct pack *p, const struct pack_request *request, bool *ret_found,
                     struct pack_match *ret, struct error *err);

/* The op that is most like what was asked for, in words, appended; nothing if the pack has none of
 * that spec. Returns how much they have in common, 0: nothing. */
int pack_nearest(const struct pack *p, const struct pack_request *request, struct buf *out);

/* "forward bf16 dk=128 dv=128, for sm_80 sm_90a" */
void pack_op_print(const struct pack *p, const struct pack_op *op, struct buf *out);

#endif
