/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every embedded file is, byte by byte, the file of the source tree that it is named after. */
static void test_same_bytes(void **state) {
  (void)state;
  for (const struct embedded_file *f = embedded_files; f->name; f++) {
    size_t len = 0;
    char *path = source_path(f->name), *text = read_file(path, &len);
    if (!text) fail_msg("%s: not in the source tree", f->name);
    assert_int_equal(f->len, len);
    assert_memory_equal(f->data, text, len);
    assert_int_equal(f->data[len], 0);
    free(path);
    free(text);
  }
}

static void test_find(void **state) {
  (void)state;
  for (const struct embedded_file *f = embedded_files; f->name; f++) {
    assert_ptr_equal(embedded_find(f->name), f);
  }
  assert_null(embedded_find(""));
  assert_null(embedded_find("specs/"));
  assert_null(embedded_find("specs/no_such_spec.lua"));
}

/* Found through the program, not only through the table: run it on a file of our own. */
static void test_every_byte_value(void **state) {
  (void)state;
  char *dir = temp_dir(), in[300], out[300];
  snprintf(in, sizeof in, "%s/bytes.bin", dir);
  snprintf(out, sizeof out, "%s/out.c", dir);
  char all[256];
  for (int i = 0; i < 256; i++) all[i] = (char)i;
  assert_true(write_file(in, all, sizeof all));

  char *embed = build_path("gen/embed");
  struct command_result r;
  command_run((const char *[]){embed, out, in, NULL}, NULL, &r);
  assert_int_equal(r.status, 0);
  char *text = read_file(out, NULL);
  assert_contains(text, ",127,128,129,");
  assert_contains(text, "254,255,0};");
  assert_contains(text, "/bytes.bin\", (const char *)file_0, 256},");

  free(text);
  command_result_finish(&r);
  command_run((const char *[]){embed, out, "/nowhere/x.lua", NULL}, NULL, &r);
  assert_int_equal(r.status, 1);
  assert_string_equal(r.err, "embed: /nowhere/x.lua: No such file or directory\n");
  command_result_finish(&r);
  remove_dir(dir);
  free(dir);
  free(embed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_bytes),
      cmocka_unit_test(test_find),
      cmocka_unit_test(test_every_byte_value),
  };
  return cmocka_run_group_tests_name("embed", tests, NULL, NULL);
}
