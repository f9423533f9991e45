/* SPDX-License-Identifier: MIT
 * test_json.c - tests gen/cli/json.c: whatever goes in, JSON comes out.
 */
#include "support.h"

#include "cli/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void nests_objects_and_arrays(void **state) {
  (void)state;
  struct buf out = {0};
  struct json j = {.out = &out};
  json_object(&j, NULL);
  json_string(&j, "name", "gla");
  json_array(&j, "list");
  json_integer(&j, NULL, -3);
  json_bool(&j, NULL, true);
  json_object(&j, NULL);
  json_end(&j);
  json_end(&j);
  json_array(&j, "none");
  json_end(&j);
  json_end(&j);
  assert_string_equal(buf_text(&out), "{\n  \"name\": \"gla\",\n  \"list\": [\n    -3,\n    true,\n"
                                      "    {}\n  ],\n  \"none\": []\n}\n");
  buf_finish(&out);
}

static void check_string(const char *value, const char *expected) {
  struct buf out = {0};
  struct json j = {.out = &out};
  json_string(&j, NULL, value);
  assert_string_equal(buf_text(&out), expected);
  buf_finish(&out);
}

static void escapes_strings(void **state) {
  (void)state;
  check_string("a\"b\\c", "\"a\\\"b\\\\c\"");
  check_string("\n\r\t\x01\x1f\x7f", "\"\\n\\r\\t\\u0001\\u001f\\u007f\"");
  check_string("", "\"\"");
  check_string(NULL, "null");
  check_string("\xce\xb1 \xe2\x86\x90 \xf0\x9f\x98\x80",
               "\"\xce\xb1 \xe2\x86\x90 \xf0\x9f\x98\x80\"");
}

static void replaces_what_is_no_utf8(void **state) {
  (void)state;
  check_string("\xff", "\"\\ufffd\"");
  check_string("a\xc3", "\"a\\ufffd\"");                                /* cut short */
  check_string("\xc0\x80", "\"\\ufffd\\ufffd\"");                       /* overlong */
  check_string("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");            /* a surrogate */
  check_string("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* beyond the last */
}

static void check_number(double value, const char *expected) {
  struct buf out = {0};
  struct json j = {.out = &out};
  json_number(&j, NULL, value);
  assert_string_equal(buf_text(&out), expected);
  buf_finish(&out);
}

static void writes_no_nan_tokens(void **state) {
  (void)state;
  check_number(NAN, "null");
  check_number(INFINITY, "null");
  check_number(-INFINITY, "null");
}

static void numbers_read_back_exactly(void **state) {
  (void)state;
  check_number(0.1, "0.1");
  check_number(0, "0");
  const double hard[] = {1.0 / 3, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -123456.789e-30};
  for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
    struct buf out = {0};
    struct json j = {.out = &out};
    json_number(&j, NULL, hard[i]);
    const double back = strtod(buf_text(&out), NULL);
    assert_memory_equal(&back, &hard[i], sizeof back);
    buf_finish(&out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nests_objects_and_arrays),  cmocka_unit_test(escapes_strings),
      cmocka_unit_test(replaces_what_is_no_utf8),  cmocka_unit_test(writes_no_nan_tokens),
      cmocka_unit_test(numbers_read_back_exactly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
