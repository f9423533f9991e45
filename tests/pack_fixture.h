/* SPDX-License-Identifier: MIT
 * pack_fixture.h - a small pack of made-up ops, for the tests of packs and the fuzzer's seeds.
 *
 *   toy, window=64      forward bf16 64/64    cubins sm_80, sm_90a, PTX sm_80
 *   toy, window=64      forward bf16 64/128   source alone
 *   toy, window=8       forward bf16 64/64    cubin sm_80
 *   wide                step fp32 32/32       align 16 and align 4, cubin sm_80
 *
 * The text of a code is "source of NAME ARCH", its cubin begins like an ELF file, its PTX is text.
 */
#ifndef MKC_TESTS_PACK_FIXTURE_H
#define MKC_TESTS_PACK_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "pack_write.h"

static const char toy_text[] = "the text of toy";
static const char wide_text[] = "the text of wide";

static inline struct op_source fixture_source(const char *name, const char *arch, int chunk) {
  static char text[3][64];
  static int turn;
  char *here = text[turn++ % 3];
  struct op_source s = {.text = here, .plan = here + 10, .entry = "kernel_entry", .chunk = chunk};
  snprintf(here, 64, "source of %s %s", name, arch);
  snprintf(s.name, sizeof s.name, "%s", name);
  snprintf(s.arch, sizeof s.arch, "%s", arch);
  s.threads = 128;
  s.smem_bytes = 50000;
  s.blocks_a_head = 2;
  s.max_levels = 33;
  s.slot_bytes = 4096;
  s.max_tokens = 8;
  s.narrays = 2;
  s.arrays[0] = (struct op_array){"v", "BTHv", MKC_BF16, 0, 1, 16, 0};
  s.arrays[1] = (struct op_array){"o", "BTHv", MKC_BF16, 1, 0, 8, 1};
  return s;
}

/* False: the writer said no. */
static inline bool fixture_code(struct pack_writer *w, const struct pack_op *op, const char *name,
                                const char *arch, enum pack_kind kind) {
  static const char cubin[] = "\177ELF cubin of %s %s %d", ptx[] = "// PTX of %s %s %d";
  const struct op_source source = fixture_source(name, arch, op->chunk ? op->chunk : 64);
  struct error err = {0};
  char code[80];
  const int len =
      snprintf(code, sizeof code, kind == PACK_PTX ? ptx : cubin, name, arch, op->dk + op->align);
  const mkc_status st = pack_writer_code(w, op, kind, &source, kind == PACK_SOURCE ? NULL : code,
                                         kind == PACK_SOURCE ? 0 : (size_t)len + 1, &err);
  error_finish(&err);
  return st == MKC_OK;
}

/* The specs' indexes: toy, toy with window=8, wide. */
static inline void fixture_specs(struct pack_writer *w, int ret[3]) {
  const struct pack_option usual = {"window", 64, 64}, narrow = {"window", 8, 64};
  unsigned char digest[SHA256_BYTES];
  sha256(toy_text, strlen(toy_text), digest);
  ret[0] = pack_writer_spec(w, "toy", digest, &usual, 1);
  ret[1] = pack_writer_spec(w, "toy", digest, &narrow, 1);
  sha256(wide_text, strlen(wide_text), digest);
  ret[2] = pack_writer_spec(w, "wide", digest, NULL, 0);
}

/* Its bytes, in the order given by `turn`; false: the writer said no. */
static inline bool fixture_pack(int turn, struct buf *out) {
  int spec[3];
  struct pack_writer *w = pack_writer_create();
  if (!w) return false;
  fixture_specs(w, spec);
  const struct {
    struct pack_op op;
    const char *name, *arch;
    enum pack_kind kind;
  } codes[] = {
      {{spec[0], MKC_FORWARD, MKC_BF16, 0, 64, 64, 0, NULL}, "toy", "sm_90a", PACK_CUBIN},
      {{spec[0], MKC_FORWARD, MKC_BF16, 0, 64, 64, 0, NULL}, "toy", "sm_80", PACK_CUBIN},
      {{spec[0], MKC_FORWARD, MKC_BF16, 0, 64, 64, 0, NULL}, "toy", "sm_80", PACK_PTX},
      {{spec[0], MKC_FORWARD, MKC_BF16, 0, 64, 128, 0, NULL}, "toy", "sm_80", PACK_SOURCE},
      {{spec[1], MKC_FORWARD, MKC_BF16, 0, 64, 64, 0, NULL}, "toy", "sm_80", PACK_CUBIN},
      {{spec[2], MKC_STEP, MKC_F32, 16, 32, 32, 0, NULL}, "wide", "sm_80", PACK_CUBIN},
      {{spec[2], MKC_STEP, MKC_F32, 4, 32, 32, 0, NULL}, "wide", "sm_80", PACK_CUBIN},
  };
  const int n = (int)(sizeof codes / sizeof *codes);
  bool ok = spec[0] >= 0 && spec[1] >= 0 && spec[2] >= 0;
  for (int i = 0; i < n && ok; i++) {
    const int at = (i * 3 + turn) % n;
    ok = fixture_code(w, &codes[at].op, codes[at].name, codes[at].arch, codes[at].kind);
  }
  struct error err = {0};
  if (ok) ok = pack_writer_write(w, 13000, out, &err) == MKC_OK;
  error_finish(&err);
  pack_writer_destroy(w);
  return ok;
}

/* What the fixture has most of: toy, forward, bf16, 64/64. */
static inline struct pack_request fixture_request(const char *arch) {
  struct pack_request r = {.name = "toy", .dtype = MKC_BF16, .dk = 64, .dv = 64};
  snprintf(r.target.arch, sizeof r.target.arch, "%s", arch);
  return r;
}

/* The digest of the head, after the head or the tables were changed. */
static inline void fixture_seal(unsigned char *pack, size_t bytes) {
  const uint64_t tables = PACK_SPEC * (uint64_t)pack_get32(pack + HEAD_SPECS) +
                          PACK_OP * (uint64_t)pack_get32(pack + HEAD_OPS) +
                          PACK_OPTION * (uint64_t)pack_get32(pack + HEAD_OPTIONS);
  struct sha256 hash;
  if (tables > bytes - PACK_HEAD) return;
  sha256_init(&hash);
  sha256_update(&hash, pack, HEAD_DIGEST);
  sha256_update(&hash, pack + PACK_HEAD, (size_t)tables);
  sha256_finish(&hash, pack + HEAD_DIGEST);
}

#endif
