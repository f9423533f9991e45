/* SPDX-License-Identifier: MIT
 * test_pack.c - pack.c, pack_record.c, pack_write.c: what is written is read back, to the field;
 * every byte that is flipped, every length that it is cut to and every number that lies is an error
 * or makes no difference.
 */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pack_fixture.h"

static int setup(void **state) {
  struct buf *pack = calloc(1, sizeof *pack);
  *state = pack;
  return pack && fixture_pack(0, pack) ? 0 : -1;
}

static int teardown(void **state) {
  buf_finish(*state);
  free(*state);
  return 0;
}

/* A copy of exactly these bytes, so that a sanitizer sees the first beyond; the caller frees. */
static unsigned char *copy(const void *bytes, size_t len) {
  unsigned char *p = malloc(len ? len : 1);
  assert_non_null(p);
  memcpy(p, bytes, len);
  return p;
}

/* ---- what is written is read ---- */

static void expect_toy(const struct op_source *s, const char *arch) {
  char text[64];
  snprintf(text, sizeof text, "source of toy %s", arch);
  assert_string_equal(s->text, text);
  assert_string_equal(s->plan, text + 10);
  assert_string_equal(s->name, "toy");
  assert_string_equal(s->entry, "kernel_entry");
  assert_string_equal(s->arch, arch);
  assert_int_equal(s->pass, MKC_FORWARD);
  assert_int_equal(s->dtype, MKC_BF16);
  assert_int_equal(s->dk, 64);
  assert_int_equal(s->dv, 64);
  assert_int_equal(s->chunk, 64);
  assert_int_equal(s->threads, 128);
  assert_int_equal(s->smem_bytes, 50000);
  assert_int_equal(s->blocks_a_head, 2);
  assert_int_equal(s->max_levels, 33);
  assert_int_equal(s->slot_bytes, 4096);
  assert_int_equal(s->max_tokens, 8);
  assert_int_equal(s->narrays, 2);
  const struct op_source wrote = fixture_source("toy", arch, 64);
  assert_memory_equal(s->arrays, wrote.arrays, sizeof wrote.arrays);
}

static void test_round_trip(void **state) {
  const struct buf *bytes = *state;
  struct error err = {0};
  struct pack *p;
  struct op_source source;
  struct pack_match match;
  bool found;
  assert_int_equal(pack_open_memory(bytes->data, bytes->len, &p, &err), MKC_OK);
  assert_int_equal(pack_op_count(p), 5);
  assert_int_equal(pack_spec_count(p), 3);
  assert_int_equal(pack_nvrtc(p), 13000);
  assert_string_equal(pack_maskc(p), MKC_VERSION_STRING);
  assert_string_equal(pack_name(p), "the pack in memory");
  const struct pack_request request = fixture_request("sm_90a");
  assert_int_equal(pack_find(p, &request, &found, &match, &err), MKC_OK);
  assert_true(found);
  assert_int_equal(pack_take(p, &match.op, &match.code, &source, &err), MKC_OK);
  expect_toy(&source, "sm_90a");
  assert_string_equal((const char *)source.code, "\177ELF cubin of toy sm_90a 64");
  assert_int_equal(source.code_bytes, 28);
  assert_int_equal((uintptr_t)source.code % 16, (uintptr_t)bytes->data % 16);
  assert_ptr_equal(source.pack, p);
  op_source_finish(&source);
  pack_close(p);
  pack_close(NULL);
}

static void test_the_order_of_work_does_not_show(void **state) {
  const struct buf *bytes = *state;
  for (int turn = 1; turn < 7; turn++) {
    struct buf other = {0};
    assert_true(fixture_pack(turn, &other));
    assert_int_equal(other.len, bytes->len);
    assert_memory_equal(other.data, bytes->data, bytes->len);
    buf_finish(&other);
  }
}

static void test_no_path_of_the_builder(void **state) {
  (void)state;
  struct pack_writer *w = pack_writer_create();
  struct op_source source = fixture_source("toy", "sm_80", 64);
  char text[] = "#line 7 \"/home/me/toy.lua\"\nfirst\n#line 9 \"x\"\nsecond\n";
  const struct pack_op op = {.dtype = MKC_BF16, .dk = 64, .dv = 64};
  struct buf out = {0};
  struct error err = {0};
  source.text = text;
  unsigned char digest[SHA256_BYTES] = {0};
  assert_int_equal(pack_writer_spec(w, "toy", digest, NULL, 0), 0);
  assert_int_equal(pack_writer_code(w, &op, PACK_SOURCE, &source, NULL, 0, &err), MKC_OK);
  assert_int_equal(pack_writer_write(w, 0, &out, &err), MKC_OK);
  bool has_text = false;
  for (size_t i = 0; i + 13 <= out.len; i++) {
    assert_int_not_equal(memcmp(out.data + i, "/home/me", 8), 0);
    has_text |= memcmp(out.data + i, "first\nsecond\n", 13) == 0;
  }
  assert_true(has_text);
  buf_finish(&out);
  pack_writer_destroy(w);
}

static void test_an_empty_pack(void **state) {
  (void)state;
  struct pack_writer *w = pack_writer_create();
  struct buf out = {0};
  struct error err = {0};
  struct pack *p;
  struct pack_match match;
  bool found = true;
  const struct pack_request request = fixture_request("sm_80");
  assert_int_equal(pack_writer_write(w, 0, &out, &err), MKC_OK);
  assert_int_equal(pack_open_memory(out.data, out.len, &p, &err), MKC_OK);
  assert_int_equal(pack_find(p, &request, &found, &match, &err), MKC_OK);
  assert_false(found);
  pack_close(p);
  buf_finish(&out);
  pack_writer_destroy(w);
}

/* ---- damage ---- */

/* Opens the bytes and takes what sm_90a gets of toy. True: that worked, and gave exactly this. */
static mkc_status use(const unsigned char *bytes, size_t len, bool *ret_found) {
  struct error err = {0};
  struct pack *p;
  struct pack_match match;
  struct op_source source;
  const struct pack_request request = fixture_request("sm_90a");
  *ret_found = false;
  mkc_status st = pack_open_memory(bytes, len, &p, &err);
  if (st) {
    assert_contains(error_text(&err), "the pack in memory: ");
    error_finish(&err);
    return st;
  }
  st = pack_find(p, &request, ret_found, &match, &err);
  if (!st && *ret_found) st = pack_take(p, &match.op, &match.code, &source, &err);
  if (!st && *ret_found) {
    expect_toy(&source, "sm_90a");
    assert_string_equal((const char *)source.code, "\177ELF cubin of toy sm_90a 64");
    op_source_finish(&source);
  }
  if (st) assert_contains(error_text(&err), "the pack in memory: ");
  error_finish(&err);
  pack_close(p);
  return st;
}

/* What is no error must be the op itself; and no flip may hide it. */
static void test_every_byte_flipped(void **state) {
  const struct buf *good = *state;
  unsigned char *bytes = copy(good->data, good->len);
  size_t refused = 0;
  bool found;
  assert_int_equal(use(bytes, good->len, &found), MKC_OK);
  assert_true(found);
  for (size_t i = 0; i < good->len; i++)
    for (int bit = 1; bit <= 0x80; bit = bit == 1 ? 0x80 : 0x100) {
      bytes[i] ^= (unsigned char)bit;
      const mkc_status st = use(bytes, good->len, &found);
      bytes[i] ^= (unsigned char)bit;
      assert_true(st == MKC_E_FILE || (st == MKC_OK && found));
      refused += st != MKC_OK;
    }
  /* all of the head and the tables, and what this op has */
  const size_t tables = PACK_HEAD + 3 * PACK_SPEC + 5 * PACK_OP + 2 * PACK_OPTION;
  assert_true(refused > 2 * tables && refused < 2 * good->len);
  free(bytes);
}

static void test_every_length(void **state) {
  const struct buf *good = *state;
  bool found;
  for (size_t len = 0; len < good->len; len++) {
    unsigned char *bytes = copy(good->data, len);
    assert_int_equal(use(bytes, len, &found), MKC_E_FILE);
    free(bytes);
  }
  unsigned char *longer = copy(good->data, good->len + 1);
  assert_int_equal(use(longer, good->len + 1, &found), MKC_E_FILE);
  free(longer);
}

static void expect_refused(const unsigned char *bytes, size_t len, const char *part) {
  struct error err = {0};
  struct pack *p;
  assert_int_equal(pack_open_memory(bytes, len, &p, &err), MKC_E_FILE);
  assert_contains(error_text(&err), part);
  error_finish(&err);
}

static void test_another_format(void **state) {
  const struct buf *good = *state;
  unsigned char *bytes = copy(good->data, good->len);
  pack_put(bytes + HEAD_VERSION, PACK_VERSION + 1, 4);
  expect_refused(bytes, good->len,
                 "a pack of format 2; this library (" MKC_VERSION_STRING ") reads format 1");
  memcpy(bytes, "\211PNG\r\n\032\n", 8);
  expect_refused(bytes, good->len, "not a pack of maskc");
  free(bytes);
}

/* Numbers that lie, under a digest that is right. */
static void test_hostile_tables(void **state) {
  const struct buf *good = *state;
  const size_t ops = PACK_HEAD + 3 * PACK_SPEC;
  static const struct {
    size_t at;
    int bytes;
    uint64_t value;
  } lies[] = {
      {HEAD_SPECS, 4, UINT32_MAX},
      {HEAD_OPS, 4, UINT32_MAX},
      {HEAD_OPS, 4, 0x80000000},
      {HEAD_OPTIONS, 4, 0x7fffffff},
      {HEAD_FILE_BYTES, 8, UINT64_MAX},
      {PACK_HEAD + SPEC_OPTIONS, 4, UINT32_MAX},
      {PACK_HEAD + SPEC_NOPTIONS, 4, 3},
      {PACK_HEAD + 3 * PACK_SPEC + OP_SPEC, 4, 3},
      {PACK_HEAD + 3 * PACK_SPEC + OP_SPEC, 4, UINT32_MAX},
      {PACK_HEAD + 3 * PACK_SPEC + PACK_OP + OP_DV, 4, 4096},   /* not sorted */
      {PACK_HEAD + 3 * PACK_SPEC + 2 * PACK_OP + OP_DV, 4, 64}, /* one twice */
      {PACK_HEAD + 3 * PACK_SPEC + 2 * PACK_OP, 8, UINT64_MAX},
  };
  bool found;
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    unsigned char *bytes = copy(good->data, good->len);
    pack_put(bytes + lies[i].at, lies[i].value, lies[i].bytes);
    fixture_seal(bytes, good->len);
    assert_int_equal(use(bytes, good->len, &found), MKC_E_FILE);
    free(bytes);
  }
  /* names without an end, and a record that is not where it should be */
  unsigned char *bytes = copy(good->data, good->len);
  memset(bytes + PACK_HEAD + SPEC_NAME, 'x', PACK_NAME);
  fixture_seal(bytes, good->len);
  expect_refused(bytes, good->len, "its tables make no sense");
  memcpy(bytes, good->data, good->len);
  for (int op = 0; op < 5; op++) {
    pack_put(bytes + ops + PACK_OP * (size_t)op + OP_RECORD, UINT64_MAX - 8, 8);
    pack_put(bytes + ops + PACK_OP * (size_t)op + OP_RECORD_BYTES, 16, 8);
  }
  fixture_seal(bytes, good->len);
  assert_int_equal(use(bytes, good->len, &found), MKC_E_FILE);
  free(bytes);
}

/* Every byte of the record set to 0, 1, 127 and 255, under digests that are right: it is refused or
 * read, and what is read keeps its bounds. */
static void test_hostile_records(void **state) {
  const struct buf *good = *state;
  static const unsigned char values[] = {0, 1, 127, 255};
  const size_t op = PACK_HEAD + 3 * PACK_SPEC; /* toy, window=8: one code */
  unsigned char *bytes = copy(good->data, good->len);
  const uint64_t record = pack_get(bytes + op + OP_RECORD, 8),
                 len = pack_get(bytes + op + OP_RECORD_BYTES, 8);
  struct pack_request request = fixture_request("sm_80");
  const mkc_setting narrow = {"window", 8};
  request.settings = &narrow;
  request.nsettings = 1;
  int taken = 0, refused = 0;
  for (uint64_t i = 0; i < len; i++)
    for (size_t j = 0; j < sizeof values; j++) {
      struct error err = {0};
      struct pack *p;
      struct pack_match match;
      struct op_source source;
      bool found = false;
      memcpy(bytes, good->data, good->len);
      bytes[record + i] = values[j];
      sha256(bytes + record, (size_t)len, bytes + op + OP_RECORD_DIGEST);
      fixture_seal(bytes, good->len);
      assert_int_equal(pack_open_memory(bytes, good->len, &p, &err), MKC_OK);
      mkc_status st = pack_find(p, &request, &found, &match, &err);
      if (!st && found) st = pack_take(p, &match.op, &match.code, &source, &err);
      assert_true(st == MKC_OK || st == MKC_E_FILE);
      if (!st && found) {
        assert_in_range(source.narrays, 0, OP_MAX_ARRAYS);
        op_source_finish(&source);
        taken++;
      }
      refused += st != MKC_OK;
      error_finish(&err);
      pack_close(p);
    }
  assert_true(taken > 0 && refused > 0);
  free(bytes);
}

enum { ARRAY_BYTES = PACK_NAME + 8 + 3 * 4, AT_AXES = PACK_NAME, AT_ALIGN = PACK_NAME + 8 + 4 };

static bool record_reads(const struct buf *record) {
  struct pack_cursor c;
  struct pack_code code;
  assert_int_equal(pack_record_open(&c, record->data, record->len), 1);
  pack_record_next(&c, &code);
  return !c.failed;
}

/* One number of the record, counted from its end, is another for this look at it. */
static bool reads_with(struct buf *record, size_t from_end, uint32_t value) {
  unsigned char *p = (unsigned char *)record->data + record->len - from_end;
  const uint32_t before = pack_get32(p);
  pack_put(p, value, 4);
  const bool reads = record_reads(record);
  pack_put(p, before, 4);
  return reads;
}

/* All that a record may say and what it may not, where its length gives room for either. */
static void test_limits_of_a_record(void **state) {
  (void)state;
  struct buf record = {0};
  struct pack_code code = {.source = fixture_source("toy", "sm_80", 64)};
  code.source.narrays = OP_MAX_ARRAYS;
  for (int i = 0; i < OP_MAX_ARRAYS; i++) code.source.arrays[i] = code.source.arrays[0];
  pack_record_begin(&record, 1);
  pack_record_add(&record, &code);
  const size_t arrays = OP_MAX_ARRAYS * ARRAY_BYTES, last = ARRAY_BYTES;
  assert_true(record_reads(&record));
  static const uint32_t aligns[] = {1, 2, 4, 8, 16}, no_aligns[] = {0, 3, 32, UINT32_MAX};
  for (int i = 0; i < 5; i++) assert_true(reads_with(&record, last - AT_ALIGN, aligns[i]));
  for (int i = 0; i < 4; i++) assert_false(reads_with(&record, last - AT_ALIGN, no_aligns[i]));
  assert_true(reads_with(&record, last - AT_AXES, 0x414141));      /* "AAA", then the rest */
  assert_false(reads_with(&record, last - AT_AXES - 4, 0x414141)); /* seven letters */
  /* max_levels and slot_bytes, before max_tokens, two blobs and the plan */
  const size_t plan = 4 + strlen(code.source.plan), blobs = 2 * (16 + SHA256_BYTES);
  const size_t slot_bytes = arrays + 4 + plan + blobs + 4 + 4;
  assert_true(reads_with(&record, slot_bytes, 1 << 24));
  assert_false(reads_with(&record, slot_bytes, (1 << 24) + 1));
  assert_true(reads_with(&record, slot_bytes + 4, 64));
  assert_false(reads_with(&record, slot_bytes + 4, 65));
  /* one array more than there may be, and there */
  buf_write(&record, record.data, ARRAY_BYTES);
  memset(record.data + record.len - ARRAY_BYTES, 0, ARRAY_BYTES);
  pack_put((unsigned char *)record.data + record.len - last + AT_ALIGN, 16, 4);
  assert_false(reads_with(&record, last + arrays + 4, OP_MAX_ARRAYS + 1));
  buf_finish(&record);
}

/* A pack of many ops opens without a look at what they hold. */
static void test_blobs_are_checked_when_used(void **state) {
  const struct buf *good = *state;
  unsigned char *bytes = copy(good->data, good->len);
  struct error err = {0};
  struct pack *p;
  bool found;
  const size_t tables = PACK_HEAD + 3 * PACK_SPEC + 5 * PACK_OP + 2 * PACK_OPTION;
  memset(bytes + tables, 0x55, good->len - tables);
  assert_int_equal(pack_open_memory(bytes, good->len, &p, &err), MKC_OK);
  pack_close(p);
  assert_int_equal(use(bytes, good->len, &found), MKC_E_FILE);
  free(bytes);
}

/* ---- files ---- */

static void expect_no_file(const char *path, const char *part) {
  struct error err = {0};
  struct pack *p;
  assert_int_equal(pack_open(path, &p, &err), MKC_E_FILE);
  assert_contains(error_text(&err), path);
  assert_contains(error_text(&err), part);
  error_finish(&err);
}

static void test_files(void **state) {
  const struct buf *good = *state;
  char *dir = temp_dir(), path[4200];
  struct error err = {0};
  struct pack *p;
  snprintf(path, sizeof path, "%s/x.mkp", dir);
  expect_no_file(path, "No such file");
  expect_no_file(dir, "not a regular file");
  expect_no_file("/dev/null", "not a regular file");
  assert_true(write_file(path, "", 0));
  expect_no_file(path, "empty");
  assert_true(write_file(path, good->data, good->len - 1));
  expect_no_file(path, "bytes");
  assert_true(write_file(path, good->data, good->len));
  assert_int_equal(pack_open(path, &p, &err), MKC_OK);
  assert_string_equal(pack_name(p), path);
  pack_close(p);
  assert_int_equal(remove(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0);
  expect_no_file(path, "not a regular file"); /* and nobody waits for a writer */
  remove_dir(dir);
  free(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_the_order_of_work_does_not_show),
      cmocka_unit_test(test_no_path_of_the_builder),
      cmocka_unit_test(test_an_empty_pack),
      cmocka_unit_test(test_every_byte_flipped),
      cmocka_unit_test(test_every_length),
      cmocka_unit_test(test_another_format),
      cmocka_unit_test(test_hostile_tables),
      cmocka_unit_test(test_hostile_records),
      cmocka_unit_test(test_limits_of_a_record),
      cmocka_unit_test(test_blobs_are_checked_when_used),
      cmocka_unit_test(test_files),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
