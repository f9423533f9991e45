/* SPDX-License-Identifier: MIT
 * fuzz_pack.c - any bytes as a pack: opened, every op looked at, found and taken, and described.
 *
 * No fuzzer finds a SHA-256. So the first byte of an input says which digests are put right before
 * the rest is read: 1 those of the records, 2 then that of the head and the tables. What is taken
 * must lie inside the pack and keep the bounds that the runtime relies on.
 */
#include "fuzz.h"

#include "pack.h"

#include <stdlib.h>
#include <string.h>

enum { FIX_RECORDS = 1, FIX_HEAD = 2 };

static uint64_t tables_bytes(const uint8_t *pack) {
  return PACK_SPEC * (uint64_t)pack_get32(pack + HEAD_SPECS) +
         PACK_OP * (uint64_t)pack_get32(pack + HEAD_OPS) +
         PACK_OPTION * (uint64_t)pack_get32(pack + HEAD_OPTIONS);
}

static void fix_records(uint8_t *pack, size_t size) {
  const uint64_t nspecs = pack_get32(pack + HEAD_SPECS), nops = pack_get32(pack + HEAD_OPS);
  for (uint64_t i = 0; i < nops; i++) {
    uint8_t *op = pack + PACK_HEAD + PACK_SPEC * nspecs + PACK_OP * i;
    const uint64_t offset = pack_get(op + OP_RECORD, 8), bytes = pack_get(op + OP_RECORD_BYTES, 8);
    if (offset <= size && bytes <= size - offset)
      sha256(pack + offset, (size_t)bytes, op + OP_RECORD_DIGEST);
  }
}

static void fix_head(uint8_t *pack, uint64_t tables) {
  struct sha256 hash;
  sha256_init(&hash);
  sha256_update(&hash, pack, HEAD_DIGEST);
  sha256_update(&hash, pack + PACK_HEAD, (size_t)tables);
  sha256_finish(&hash, pack + HEAD_DIGEST);
}

static void put_right(uint8_t *pack, size_t size, int what) {
  if (size < PACK_HEAD || tables_bytes(pack) > size - PACK_HEAD) return;
  if (what & FIX_RECORDS) fix_records(pack, size);
  if (what & FIX_HEAD) fix_head(pack, tables_bytes(pack));
}

static void check_source(const struct op_source *s, const uint8_t *pack, size_t size) {
  const uint8_t *code = s->code;
  if (code && (code < pack || s->code_bytes > size || code + s->code_bytes > pack + size)) abort();
  if (s->narrays < 0 || s->narrays > OP_MAX_ARRAYS || !s->text || !s->plan) abort();
  if (strlen(s->name) >= sizeof s->name || strlen(s->entry) >= sizeof s->entry) abort();
  for (int i = 0; i < s->narrays; i++)
    if (s->arrays[i].align < 1 || strlen(s->arrays[i].axes) >= sizeof s->arrays[i].axes) abort();
}

static void take(const struct pack *p, const struct pack_op *op, const struct pack_code *code,
                 const uint8_t *pack, size_t size) {
  struct op_source source;
  struct error err = {0};
  if (!pack_take(p, op, code, &source, &err)) {
    check_source(&source, pack, size);
    op_source_finish(&source);
  } else if (err.status != MKC_E_FILE) {
    abort();
  }
  error_finish(&err);
}

/* As a host would ask for this op. */
static void find(const struct pack *p, const struct pack_op *op) {
  struct pack_spec spec;
  struct pack_match match;
  struct buf out = {0};
  struct error err = {0};
  bool found;
  pack_spec_at(p, op->spec, &spec);
  struct pack_request r = {.name = spec.name, .pass = op->pass, .dtype = op->dtype};
  r.dk = op->dk;
  r.dv = op->dv;
  strcpy(r.target.arch, "sm_90a");
  if (!pack_find(p, &r, &found, &match, &err) && found && !match.code.source.arch[0]) abort();
  pack_nearest(p, &r, &out);
  buf_finish(&out);
  error_finish(&err);
}

static void use(const struct pack *p, const uint8_t *pack, size_t size) {
  for (int i = 0; i < pack_op_count(p); i++) {
    struct pack_op op;
    struct pack_codes codes;
    struct pack_code code;
    struct error err = {0};
    pack_op_at(p, i, &op);
    if (!pack_codes_open(p, &op, &codes, &err))
      while (pack_code_next(&codes, &code)) take(p, &op, &code, pack, size);
    error_finish(&err);
    if (i < 8) find(p, &op);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  struct error err = {0};
  struct pack *p;
  uint8_t *pack = malloc(size);
  if (!pack) return 0;
  memcpy(pack, data + 1, size - 1);
  put_right(pack, size - 1, data[0]);
  if (!pack_open_memory(pack, size - 1, &p, &err)) {
    use(p, pack, size - 1);
    pack_close(p);
  } else if (err.status != MKC_E_FILE) {
    abort();
  }
  error_finish(&err);
  free(pack);
  return 0;
}
