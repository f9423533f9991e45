/* SPDX-License-Identifier: MIT
 * pack_record.c - struct op_source to bytes and back, see pack_record.h.
 *
 * Writing and reading stand side by side, in the same order. Reading trusts nothing: a count is
 * compared before it is used, and a text ends inside its field.
 */
#include "pack_record.h"

/* A new field has to be stored here too, under a new PACK_VERSION. */
_Static_assert(sizeof(struct op_array) == 92, "pack_record.c stores every field of op_array");
_Static_assert(offsetof(struct op_source, arrays) - offsetof(struct op_source, name) == 192,
               "pack_record.c stores every field of op_source, the tables the others");

enum { ARCH = 16, ENTRY = 64, AXES = 8 };
/* More than any op has, and little enough that op_args_workspace does not overflow. */
enum { MOST_LEVELS = 64, MOST_SLOT_BYTES = 1 << 24 };
enum { FLAG_OUTPUT = 1, FLAG_OPTIONAL = 2, FLAG_IN_PLACE = 4 };

/* ---- writing ---- */

static void put_number(struct buf *out, uint64_t value, int bytes) {
  unsigned char b[8];
  pack_put(b, value, bytes);
  buf_write(out, b, (size_t)bytes);
}

static void put_u32(struct buf *out, int value) {
  put_number(out, (uint32_t)value, 4);
}

static void put_text(struct buf *out, const char *text, size_t field) {
  static const char nuls[PACK_NAME];
  const size_t all = strlen(text), len = all < field ? all : field - 1;
  buf_write(out, text, len);
  buf_write(out, nuls, field - len);
}

static void put_blob(struct buf *out, const struct pack_blob *blob) {
  put_number(out, blob->offset, 8);
  put_number(out, blob->bytes, 8);
  buf_write(out, blob->digest, sizeof blob->digest);
}

static void put_array(struct buf *out, const struct op_array *a) {
  put_text(out, a->name, PACK_NAME);
  put_text(out, a->axes, AXES);
  put_u32(out, (int)a->dtype);
  put_u32(out, a->align);
  put_u32(out, (a->output ? FLAG_OUTPUT : 0) | (a->optional ? FLAG_OPTIONAL : 0) |
                   (a->in_place ? FLAG_IN_PLACE : 0));
}

void pack_record_begin(struct buf *out, int ncodes) {
  put_u32(out, ncodes);
}

void pack_record_add(struct buf *out, const struct pack_code *code) {
  const struct op_source *s = &code->source;
  put_u32(out, (int)code->kind);
  put_text(out, s->arch, ARCH);
  put_text(out, s->entry, ENTRY);
  put_u32(out, s->chunk);
  put_u32(out, s->threads);
  put_u32(out, s->smem_bytes);
  put_u32(out, s->blocks_a_head);
  put_u32(out, s->max_levels);
  put_u32(out, s->slot_bytes);
  put_u32(out, s->max_tokens);
  put_blob(out, &code->text);
  put_blob(out, &code->code);
  put_u32(out, (int)strlen(s->plan));
  buf_puts(out, s->plan);
  put_u32(out, s->narrays);
  for (int i = 0; i < s->narrays; i++) put_array(out, &s->arrays[i]);
}

/* ---- reading ---- */

/* The next bytes, or NULL. */
static const unsigned char *take(struct pack_cursor *c, size_t bytes) {
  if (c->failed || (size_t)(c->end - c->at) < bytes) {
    c->failed = true;
    return NULL;
  }
  c->at += bytes;
  return c->at - bytes;
}

static uint64_t get_number(struct pack_cursor *c, int bytes) {
  const unsigned char *p = take(c, (size_t)bytes);
  return p ? pack_get(p, bytes) : 0;
}

/* Sizes, counts and the like: none is near 2^31. */
static int get_u32(struct pack_cursor *c) {
  const uint64_t value = get_number(c, 4);
  if (value <= INT32_MAX) return (int)value;
  c->failed = true;
  return 0;
}

/* ret has `size` bytes; the field may be wider, but its text may not. */
static void get_text(struct pack_cursor *c, char *ret, size_t size, size_t field) {
  const unsigned char *p = take(c, field);
  const unsigned char *end = p ? memchr(p, 0, field) : NULL;
  memset(ret, 0, size);
  if (!end || (size_t)(end - p) >= size)
    c->failed = true;
  else
    memcpy(ret, p, (size_t)(end - p));
}

static void get_blob(struct pack_cursor *c, struct pack_blob *ret) {
  ret->offset = get_number(c, 8);
  ret->bytes = get_number(c, 8);
  const unsigned char *digest = take(c, sizeof ret->digest);
  if (digest) memcpy(ret->digest, digest, sizeof ret->digest);
}

static void get_array(struct pack_cursor *c, struct op_array *a) {
  get_text(c, a->name, sizeof a->name, PACK_NAME);
  get_text(c, a->axes, sizeof a->axes, AXES);
  a->dtype = (mkc_dtype)get_u32(c);
  a->align = get_u32(c);
  const int flags = get_u32(c);
  a->output = (flags & FLAG_OUTPUT) != 0;
  a->optional = (flags & FLAG_OPTIONAL) != 0;
  a->in_place = (flags & FLAG_IN_PLACE) != 0;
  if (a->align < 1 || a->align > 16 || a->align & (a->align - 1)) c->failed = true;
}

uint32_t pack_record_open(struct pack_cursor *c, const void *record, size_t bytes) {
  *c = (struct pack_cursor){.at = record};
  c->end = c->at + bytes;
  return (uint32_t)get_number(c, 4);
}

void pack_record_next(struct pack_cursor *c, struct pack_code *ret) {
  struct op_source *s = &ret->source;
  *ret = (struct pack_code){.kind = PACK_SOURCE};
  const int kind = get_u32(c);
  if (kind > PACK_PTX) c->failed = true;
  ret->kind = (enum pack_kind)kind;
  get_text(c, s->arch, sizeof s->arch, ARCH);
  get_text(c, s->entry, sizeof s->entry, ENTRY);
  s->chunk = get_u32(c);
  s->threads = get_u32(c);
  s->smem_bytes = get_u32(c);
  s->blocks_a_head = get_u32(c);
  s->max_levels = get_u32(c);
  s->slot_bytes = get_u32(c);
  s->max_tokens = get_u32(c);
  if (s->max_levels > MOST_LEVELS || s->slot_bytes > MOST_SLOT_BYTES) c->failed = true;
  get_blob(c, &ret->text);
  get_blob(c, &ret->code);
  ret->plan_bytes = (size_t)get_u32(c);
  ret->plan = (const char *)take(c, ret->plan_bytes);
  s->narrays = get_u32(c);
  if (s->narrays > OP_MAX_ARRAYS) c->failed = true;
  for (int i = 0; i < s->narrays && !c->failed; i++) get_array(c, &s->arrays[i]);
}
