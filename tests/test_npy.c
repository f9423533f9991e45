/* SPDX-License-Identifier: MIT
 * test_npy.c - tests gen/cli/npy.c: round trips, and files that nobody should trust.
 */
#include "support.h"

#include "cli/npy.h"

#include "../runtime/base/buf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A .npy file in memory: this header (a newline is added), then `data` zero bytes. */
static void make(struct buf *out, int major, const char *header, size_t data) {
  const size_t len = strlen(header) + 1;
  buf_write(out, "\x93NUMPY", 6);
  const unsigned char head[] = {(unsigned char)major,      0, (unsigned char)len,
                                (unsigned char)(len >> 8), 0, 0};
  buf_write(out, head, major == 1 ? 4 : 6);
  buf_printf(out, "%s\n", header);
  for (size_t i = 0; i < data; i++) buf_write(out, "", 1);
}

static mkc_status parse(int major, const char *header, size_t data, struct npy *ret,
                        struct error *err) {
  struct buf file = {0};
  make(&file, major, header, data);
  /* a copy of the exact size, so that a sanitizer sees the first byte beyond */
  void *exact = malloc(file.len);
  memcpy(exact, file.data, file.len);
  const mkc_status status = npy_parse("x.npy", exact, file.len, ret, err);
  free(exact);
  buf_finish(&file);
  return status;
}

static void accepts(int major, const char *header, size_t data, int ndim, size_t count) {
  struct npy a;
  struct error err = {0};
  const mkc_status status = parse(major, header, data, &a, &err);
  if (status) fail_msg("%s: %s", header, error_text(&err));
  assert_int_equal(a.ndim, ndim);
  assert_int_equal(a.count, count);
}

static void refuses(const char *header, size_t data, const char *message) {
  struct npy a;
  struct error err = {0};
  if (parse(1, header, data, &a, &err) != MKC_E_FILE) fail_msg("accepted: %s", header);
  assert_contains(error_text(&err), "x.npy: ");
  assert_contains(error_text(&err), message);
  error_finish(&err);
}

static void reads_every_version(void **state) {
  (void)state;
  for (int major = 1; major <= 3; major++) {
    accepts(major, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, 2, 6);
    accepts(major, "{'descr': '<f8', 'fortran_order': False, 'shape': (5,), }", 40, 1, 5);
    accepts(major, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }", 8, 0, 1);
    accepts(major, "{\"shape\":(1,0,7),\"fortran_order\":False,\"descr\":\"<i4\"}", 0, 3, 0);
    accepts(major, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}   ", 24, 2, 6);
  }
}

static void refuses_types_with_a_hint(void **state) {
  (void)state;
  refuses("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", 4, "big-endian");
  refuses("{'descr': '<f2', 'fortran_order': False, 'shape': (1,)}", 2, "astype('float32')");
  refuses("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8, "dtype '|O'");
  refuses("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", 8, "dtype '<c8'");
  refuses("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4, "structured");
  refuses("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}", 16, "Fortran order");
}

static void refuses_wrong_sizes(void **state) {
  (void)state;
  refuses("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 23, "truncated");
  refuses("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 25, "1 bytes follow");
  refuses("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807,)}", 4, "large");
  refuses("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 4, "large");
  /* a product that wraps to 4 */
  refuses("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905, 4)}", 16,
          "large");
  refuses("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 0,
          "large");
  refuses("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", 4, "8 dim");
}

static void refuses_malformed_headers(void **state) {
  (void)state;
  static const char *const headers[] = {
      "",
      "{",
      "}",
      "{}",
      "[]",
      "{'descr'}",
      "{'descr': }",
      "{'descr': '<f4}",
      "{'descr': '<f4\\'', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False}",
      "{'descr': '<f4', 'shape': (1,)}",
      "{'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
      "{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
      "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
      "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}",
      "{'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa': 1}",
  };
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) refuses(headers[i], 4, "malformed");
}

/* Every prefix of a good file is refused, and every single-byte change is read or refused without
 * a step outside the buffer, which the sanitizer build sees. */
static void survives_cuts_and_changes(void **state) {
  (void)state;
  struct buf file = {0};
  make(&file, 2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24);
  for (size_t n = 0; n < file.len; n++) {
    struct npy a;
    struct error err = {0};
    char *cut = malloc(n ? n : 1);
    memcpy(cut, file.data, n);
    assert_int_equal(npy_parse("cut.npy", cut, n, &a, &err), MKC_E_FILE);
    error_finish(&err);
    free(cut);
  }
  int read = 0;
  for (size_t i = 0; i < file.len; i++)
    for (int byte = 0; byte < 256; byte++) {
      struct npy a;
      struct error err = {0};
      char *changed = malloc(file.len);
      memcpy(changed, file.data, file.len);
      changed[i] = (char)byte;
      if (npy_parse("changed.npy", changed, file.len, &a, &err) == MKC_OK) {
        assert_true((const char *)a.data + a.count * 4 <= changed + file.len);
        read++;
      }
      error_finish(&err);
      free(changed);
    }
  assert_true(read >= (int)file.len); /* at least the unchanged ones */
  buf_finish(&file);
}

static void refuses_other_files(void **state) {
  (void)state;
  struct npy a;
  struct error err = {0};
  assert_int_equal(npy_parse("a.txt", "hello, this is text", 19, &a, &err), MKC_E_FILE);
  assert_contains(error_text(&err), "a.txt: is not a .npy file");
  assert_int_equal(npy_parse("b.npy", "\x93NUMPY\x04\x00\x00\x00\x00\x00", 12, &a, &err),
                   MKC_E_FILE);
  assert_contains(error_text(&err), "version 4");
  assert_int_equal(npy_parse("c.npy", "\x93NUMPY\x02\x00\xff\xff\xff\xff", 12, &a, &err),
                   MKC_E_FILE);
  assert_contains(error_text(&err), "inside its header");
  error_finish(&err);
}

static char *path_in(const char *dir, const char *name) {
  struct buf path = {0};
  buf_printf(&path, "%s/%s", dir, name);
  return buf_steal(&path);
}

static void writes_what_it_reads(void **state) {
  (void)state;
  char *dir = temp_dir(), *path = path_in(dir, "x.npy");
  const float values[6] = {0.0f, -0.0f, 1e-45f, -3.5f, NAN, INFINITY};
  for (int ndim = 0; ndim <= 3; ndim++) {
    const int64_t shapes[4][3] = {{0}, {6}, {2, 3}, {1, 3, 2}};
    const size_t count = ndim ? 6 : 1;
    struct npy_floats back;
    struct error err = {0};
    assert_int_equal(npy_write_floats(path, ndim, shapes[ndim], values, &err), MKC_OK);
    size_t len;
    char *bytes = read_file(path, &len);
    assert_int_equal((len - 4 * count) % 64, 0);
    free(bytes);
    assert_int_equal(npy_read_floats(path, &back, &err), MKC_OK);
    assert_int_equal(back.ndim, ndim);
    assert_int_equal(back.count, count);
    for (int i = 0; i < ndim; i++) assert_int_equal(back.shape[i], shapes[ndim][i]);
    assert_memory_equal(back.values, values, 4 * count);
    free(back.values);
  }
  remove_dir(dir);
  free(path);
  free(dir);
}

static void narrows_float64(void **state) {
  (void)state;
  char *dir = temp_dir(), *path = path_in(dir, "x.npy");
  struct buf file = {0};
  struct npy_floats back;
  struct error err = {0};
  double values[2] = {0.1, -INFINITY};
  make(&file, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", 16);
  memcpy(file.data + file.len - 16, values, 16);
  assert_true(write_file(path, file.data, file.len));
  assert_int_equal(npy_read_floats(path, &back, &err), MKC_OK);
  assert_true(back.values[0] == 0.1f && back.values[1] == -INFINITY);
  free(back.values);

  values[1] = 1e300;
  memcpy(file.data + file.len - 16, values, 16);
  assert_true(write_file(path, file.data, file.len));
  assert_int_equal(npy_read_floats(path, &back, &err), MKC_E_FILE);
  assert_contains(error_text(&err), "element 1 does not fit a float32");
  error_finish(&err);
  buf_finish(&file);
  remove_dir(dir);
  free(path);
  free(dir);
}

static void names_the_file_it_cannot_use(void **state) {
  (void)state;
  char *dir = temp_dir(), *path = path_in(dir, "none.npy");
  struct npy_floats back;
  struct error err = {0};
  assert_int_equal(npy_read_floats(path, &back, &err), MKC_E_FILE);
  assert_contains(error_text(&err), "none.npy: No such file");
  assert_int_equal(npy_read_floats(dir, &back, &err), MKC_E_FILE);
  assert_contains(error_text(&err), dir);
  struct buf file = {0};
  make(&file, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}", 8);
  assert_true(write_file(path, file.data, file.len));
  assert_int_equal(npy_read_floats(path, &back, &err), MKC_E_FILE);
  assert_contains(error_text(&err), "none.npy: holds integers");
  error_finish(&err);
  buf_finish(&file);
  remove_dir(dir);
  free(path);
  free(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_every_version),          cmocka_unit_test(refuses_types_with_a_hint),
      cmocka_unit_test(refuses_wrong_sizes),          cmocka_unit_test(refuses_malformed_headers),
      cmocka_unit_test(survives_cuts_and_changes),    cmocka_unit_test(refuses_other_files),
      cmocka_unit_test(writes_what_it_reads),         cmocka_unit_test(narrows_float64),
      cmocka_unit_test(names_the_file_it_cannot_use),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
