/* SPDX-License-Identifier: MIT
 * json.h - a writer of JSON text for --json: well-formed whatever the strings and numbers are.
 *
 *   struct json j = {.out = &text};
 *   json_object(&j, NULL);
 *   json_string(&j, "spec", "simple_gla");
 *   json_number(&j, "ms", 0.37);
 *   json_end(&j);
 *
 * `key` is NULL for an element of an array and for the outermost value. A number that JSON has no
 * token for (NaN, infinity) becomes null; bytes that are no UTF-8 become U+FFFD.
 */
#ifndef MKC_CLI_JSON_H
#define MKC_CLI_JSON_H

#include "../../runtime/base/buf.h"

#include <stdint.h>

enum { JSON_MAX_DEPTH = 16 };

struct json {
  struct buf *out;
  int depth;
  char close[JSON_MAX_DEPTH]; /* the bracket that ends each open value */
  bool comma;                 /* the open value has an element already */
};

void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end(struct json *j); /* of the innermost object or array */
void json_string(struct json *j, const char *key, const char *value); /* NULL becomes null */
void json_number(struct json *j, const char *key, double value);
void json_integer(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);

#endif
