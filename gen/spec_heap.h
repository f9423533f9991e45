/* SPDX-License-Identifier: MIT
 * spec_heap.h - the memory of one spec's Lua state: bounded, and freed at once whatever happened.
 */
#ifndef MKC_SPEC_HEAP_H
#define MKC_SPEC_HEAP_H

#include <stdbool.h>
#include <stddef.h>

enum { HEAP_MAX_BYTES = 16 << 20, HEAP_MAX_STRING = 4096 };

struct allocator;
struct heap_block;

struct heap {
  const struct allocator *allocator; /* NULL: malloc */
  struct heap_block *blocks;
  size_t bytes;
  bool long_string; /* the last refusal was of a string, for its length */
  bool exhausted;   /* the system has no more */
};

/* A lua_Alloc; ud is a struct heap. */
void *heap_alloc(void *ud, void *p, size_t old_size, size_t new_size);
/* Frees everything. The Lua state need not be closed, nor be in order. */
void heap_finish(struct heap *h);

#endif
