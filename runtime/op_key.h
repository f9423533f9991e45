/* SPDX-License-Identifier: MIT
 * op_key.h - the options of an op as a key: what is equal is the same op.
 *
 * A key borrows what the options point at; op_key_copy makes one that stands alone. The hash is
 * over the short strings, the numbers and the length of a spec's text; only op_key_equal reads the
 * text.
 */
#ifndef MKC_OP_KEY_H
#define MKC_OP_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "maskc.h"

enum { OP_KEY_NUMBERS = 9 };

struct op_key {
  uint64_t hash;
  int numbers[OP_KEY_NUMBERS];
  const char *path, *device, *arch; /* NULL is another value than "" */
  const char *text;                 /* NULL: the spec of that name is shipped */
  size_t text_len;
  const mkc_setting *settings;
  int nsettings;
};

/* text: that of the spec, text_len bytes, where the options have it or it was read from a file. */
void op_key_of(const mkc_op_options *o, const char *text, size_t text_len, struct op_key *ret);
bool op_key_equal(const struct op_key *a, const struct op_key *b);

/* False: out of memory. */
bool op_key_copy(const struct allocator *a, const struct op_key *key, struct op_key *ret);
void op_key_finish(const struct allocator *a, struct op_key *key); /* of a copy; zeroed is fine */

#endif
