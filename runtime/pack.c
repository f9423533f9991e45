/* SPDX-License-Identifier: MIT
 * pack.c - opens a pack and reads its tables, records and blobs, see pack.h.
 */
#define _POSIX_C_SOURCE 200809L
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct pack {
  const unsigned char *data;
  size_t bytes;
  bool mapped;
  int nspecs, nops, noptions;
  const unsigned char *specs, *ops, *options;
  char maskc[25];
  char name[]; /* for messages */
};

/* ---- the head and the tables ---- */

static mkc_status refuse(const struct pack *p, const char *what, struct error *err) {
  return error_set(err, MKC_E_FILE, "%s: %s", p->name, what);
}

static mkc_status check_kind(const struct pack *p, struct error *err) {
  if (p->bytes < PACK_HEAD || memcmp(p->data, PACK_MAGIC, PACK_MAGIC_BYTES) != 0)
    return refuse(p, "not a pack of maskc", err);
  const uint32_t version = pack_get32(p->data + HEAD_VERSION);
  if (version != PACK_VERSION)
    return error_set(err, MKC_E_FILE,
                     "%s: a pack of format %u; this library (%s) reads format %d: build the pack "
                     "with its maskc",
                     p->name, version, MKC_VERSION_STRING, PACK_VERSION);
  const uint64_t bytes = pack_get(p->data + HEAD_FILE_BYTES, 8);
  if (bytes != p->bytes)
    return error_set(err, MKC_E_FILE, "%s: has %zu of its %llu bytes", p->name, p->bytes,
                     (unsigned long long)bytes);
  return MKC_OK;
}

/* Where the tables lie, if they fit; counts are 32 bits, so their bytes fit into 64. */
static mkc_status place_tables(struct pack *p, uint64_t *ret_bytes, struct error *err) {
  const uint64_t specs = pack_get32(p->data + HEAD_SPECS), ops = pack_get32(p->data + HEAD_OPS),
                 options = pack_get32(p->data + HEAD_OPTIONS);
  *ret_bytes = PACK_SPEC * specs + PACK_OP * ops + PACK_OPTION * options;
  if (*ret_bytes > p->bytes - PACK_HEAD || specs > INT32_MAX || ops > INT32_MAX ||
      options > INT32_MAX)
    return refuse(p, "damaged: its tables are larger than it is", err);
  p->nspecs = (int)specs;
  p->nops = (int)ops;
  p->noptions = (int)options;
  p->specs = p->data + PACK_HEAD;
  p->ops = p->specs + PACK_SPEC * specs;
  p->options = p->ops + PACK_OP * ops;
  return MKC_OK;
}

static mkc_status check_digest(const struct pack *p, uint64_t tables, struct error *err) {
  unsigned char digest[SHA256_BYTES];
  struct sha256 hash;
  sha256_init(&hash);
  sha256_update(&hash, p->data, HEAD_DIGEST);
  sha256_update(&hash, p->data + PACK_HEAD, (size_t)tables);
  sha256_finish(&hash, digest);
  if (memcmp(digest, p->data + HEAD_DIGEST, sizeof digest) == 0) return MKC_OK;
  return refuse(p, "damaged: its tables do not have the digest that it gives", err);
}

static bool is_text(const unsigned char *field, size_t bytes) {
  return memchr(field, 0, bytes) != NULL;
}

/* What a digest says nothing about: whether the tables make sense. Records are checked when read.
 */
static bool tables_make_sense(const struct pack *p) {
  for (int i = 0; i < p->noptions; i++)
    if (!is_text(p->options + PACK_OPTION * (size_t)i + OPTION_NAME, PACK_NAME)) return false;
  for (int i = 0; i < p->nspecs; i++) {
    const unsigned char *s = p->specs + PACK_SPEC * (size_t)i;
    const uint64_t first = pack_get32(s + SPEC_OPTIONS), n = pack_get32(s + SPEC_NOPTIONS);
    if (!is_text(s + SPEC_NAME, PACK_NAME) || first + n > (uint64_t)p->noptions) return false;
  }
  for (int i = 0; i < p->nops; i++) {
    const unsigned char *op = p->ops + PACK_OP * (size_t)i;
    if (pack_get32(op + OP_SPEC) >= (uint32_t)p->nspecs) return false;
    if (i > 0 && pack_op_compare(op - PACK_OP, op) >= 0) return false;
  }
  return true;
}

static mkc_status read_tables(struct pack *p, struct error *err) {
  uint64_t tables = 0;
  mkc_status st = check_kind(p, err);
  if (!st) st = place_tables(p, &tables, err);
  if (!st) st = check_digest(p, tables, err);
  if (!st && !tables_make_sense(p)) st = refuse(p, "its tables make no sense", err);
  if (!st) memcpy(p->maskc, p->data + HEAD_MASKC, sizeof p->maskc - 1);
  return st;
}

/* ---- open and close ---- */

static mkc_status open_bytes(const char *name, const void *data, size_t bytes, bool mapped,
                             struct pack **ret, struct error *err) {
  struct pack *p = calloc(1, sizeof *p + strlen(name) + 1);
  if (!p) {
    if (mapped) munmap((void *)(uintptr_t)data, bytes);
    return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  }
  strcpy(p->name, name);
  p->data = data;
  p->bytes = bytes;
  p->mapped = mapped;
  const mkc_status st = read_tables(p, err);
  if (!st)
    *ret = p;
  else
    pack_close(p);
  return st;
}

mkc_status pack_open_memory(const void *data, size_t bytes, struct pack **ret, struct error *err) {
  return open_bytes("the pack in memory", data, bytes, false, ret, err);
}

static mkc_status map(const char *path, int fd, void **ret, size_t *ret_bytes, struct error *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  if (!S_ISREG(st.st_mode)) return error_set(err, MKC_E_FILE, "%s: not a regular file", path);
  if (st.st_size == 0) return error_set(err, MKC_E_FILE, "%s: empty", path);
  *ret_bytes = (size_t)st.st_size;
  *ret = mmap(NULL, *ret_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (*ret != MAP_FAILED) return MKC_OK;
  return error_set(err, MKC_E_FILE, "%s: cannot be mapped: %s", path, strerror(errno));
}

mkc_status pack_open(const char *path, struct pack **ret, struct error *err) {
  /* a pipe would be waited for */
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return error_set(err, MKC_E_FILE, "%s: %s", path, strerror(errno));
  void *data = NULL;
  size_t bytes = 0;
  const mkc_status st = map(path, fd, &data, &bytes, err);
  close(fd);
  return st ? st : open_bytes(path, data, bytes, true, ret, err);
}

void pack_close(struct pack *p) {
  if (!p) return;
  if (p->mapped) munmap((void *)(uintptr_t)p->data, p->bytes);
  free(p);
}

/* ---- what it holds ---- */

const char *pack_name(const struct pack *p) {
  return p->name;
}

const char *pack_maskc(const struct pack *p) {
  return p->maskc;
}

int pack_nvrtc(const struct pack *p) {
  return (int)pack_get32(p->data + HEAD_NVRTC);
}

int pack_spec_count(const struct pack *p) {
  return p->nspecs;
}

int pack_op_count(const struct pack *p) {
  return p->nops;
}

void pack_spec_at(const struct pack *p, int index, struct pack_spec *ret) {
  const unsigned char *s = p->specs + PACK_SPEC * (size_t)index;
  *ret = (struct pack_spec){(const char *)s + SPEC_NAME, s + SPEC_DIGEST,
                            (int)pack_get32(s + SPEC_OPTIONS), (int)pack_get32(s + SPEC_NOPTIONS)};
}

void pack_option_at(const struct pack *p, int index, struct pack_option *ret) {
  const unsigned char *o = p->options + PACK_OPTION * (size_t)index;
  *ret = (struct pack_option){(const char *)o + OPTION_NAME, (int)pack_get32(o + OPTION_VALUE),
                              (int)pack_get32(o + OPTION_DEFAULT)};
}

void pack_op_at(const struct pack *p, int index, struct pack_op *ret) {
  const unsigned char *e = p->ops + PACK_OP * (size_t)index;
  *ret = (struct pack_op){.spec = (int)pack_get32(e + OP_SPEC),
                          .pass = (mkc_pass)e[OP_PASS],
                          .dtype = (mkc_dtype)e[OP_DTYPE],
                          .align = e[OP_ALIGN],
                          .dk = (int)pack_get32(e + OP_DK),
                          .dv = (int)pack_get32(e + OP_DV),
                          .chunk = (int)pack_get32(e + OP_CHUNK),
                          .entry = e};
}

/* ---- records and blobs ---- */

static mkc_status damaged(const struct pack *p, const struct pack_op *op, const char *what,
                          struct error *err) {
  struct pack_spec spec;
  pack_spec_at(p, op->spec, &spec);
  return error_set(err, MKC_E_FILE, "%s: damaged: the %s of %s, dk=%d dv=%d", p->name, what,
                   spec.name, op->dk, op->dv);
}

/* The bytes, if they lie in the pack and have the digest; else NULL. */
static const unsigned char *verified(const struct pack *p, uint64_t offset, uint64_t bytes,
                                     const unsigned char *digest) {
  unsigned char actual[SHA256_BYTES];
  if (offset > p->bytes || bytes > p->bytes - offset) return NULL;
  sha256(p->data + offset, (size_t)bytes, actual);
  return memcmp(actual, digest, sizeof actual) == 0 ? p->data + offset : NULL;
}

mkc_status pack_codes_open(const struct pack *p, const struct pack_op *op, struct pack_codes *ret,
                           struct error *err) {
  const uint64_t bytes = pack_get(op->entry + OP_RECORD_BYTES, 8);
  const unsigned char *record =
      verified(p, pack_get(op->entry + OP_RECORD, 8), bytes, op->entry + OP_RECORD_DIGEST);
  *ret = (struct pack_codes){.left = 0};
  if (!record) return damaged(p, op, "record", err);
  ret->left = pack_record_open(&ret->cursor, record, (size_t)bytes);
  struct pack_codes ahead = *ret;
  struct pack_code code;
  while (pack_code_next(&ahead, &code)) continue;
  return ahead.cursor.failed ? damaged(p, op, "record", err) : MKC_OK;
}

bool pack_code_next(struct pack_codes *codes, struct pack_code *ret) {
  if (codes->left == 0 || codes->cursor.failed) return false;
  codes->left--;
  pack_record_next(&codes->cursor, ret);
  return !codes->cursor.failed;
}

static char *copy_text(const void *bytes, size_t len) {
  char *text = malloc(len + 1);
  if (!text) return NULL;
  memcpy(text, bytes, len);
  text[len] = 0;
  return text;
}

static void describe(const struct pack *p, const struct pack_op *op, const struct pack_code *code,
                     struct op_source *ret) {
  struct pack_spec spec;
  pack_spec_at(p, op->spec, &spec);
  *ret = code->source;
  strcpy(ret->name, spec.name);
  ret->pass = op->pass;
  ret->dtype = op->dtype;
  ret->dk = op->dk;
  ret->dv = op->dv;
  ret->pack = p;
}

mkc_status pack_take(const struct pack *p, const struct pack_op *op, const struct pack_code *code,
                     struct op_source *ret, struct error *err) {
  const struct pack_blob *t = &code->text, *c = &code->code;
  const unsigned char *text = verified(p, t->offset, t->bytes, t->digest), *compiled = NULL;
  *ret = (struct op_source){0};
  if (!text) return damaged(p, op, "source", err);
  if (code->kind != PACK_SOURCE) {
    compiled = verified(p, c->offset, c->bytes, c->digest);
    if (!compiled || !c->bytes) return damaged(p, op, "code", err);
    if (code->kind == PACK_PTX && compiled[c->bytes - 1]) return damaged(p, op, "PTX", err);
  }
  describe(p, op, code, ret);
  ret->text = copy_text(text, (size_t)t->bytes);
  ret->plan = copy_text(code->plan, code->plan_bytes);
  ret->code = compiled;
  ret->code_bytes = compiled ? (size_t)c->bytes : 0;
  if (ret->text && ret->plan) return MKC_OK;
  op_source_finish(ret);
  return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
}
