/* SPDX-License-Identifier: MIT
 * json_check.h - whether a text is one JSON value and nothing else (RFC 8259), and what is in it.
 */
#ifndef MKC_TESTS_JSON_CHECK_H
#define MKC_TESTS_JSON_CHECK_H

#include <stddef.h>

/* NULL if it is; else where it stops being one. Strict: no NaN, no trailing comma, no bare control
 * character, no key twice in an object. */
const char *json_stops(const char *text);

/* The text of the value at a path of keys and indices, "plans.0.arch", as it stands: `4`, `"x"`.
 * The caller frees it; NULL: there is none. The text is valid. */
char *json_at(const char *text, const char *path);

#endif
