/* SPDX-License-Identifier: MIT
 * spec_heap.c - the memory of one spec's Lua state, see spec_heap.h.
 *
 * Every block hangs on a list, so that a jump out of the middle of Lua (the arena is out of memory)
 * leaves nothing behind. Strings are kept short because a single instruction of Lua copies or
 * compares a whole string, and the limit on instructions would not bound the time.
 */
#include "spec_heap.h"

#include <lua.h>

#include "../runtime/base/alloc.h"

struct heap_block {
  struct heap_block *next, **link; /* link: what points at this block */
  _Alignas(max_align_t) char data[];
};

static struct heap_block *block_of(void *p) {
  return (struct heap_block *)((char *)p - offsetof(struct heap_block, data));
}

static void take_out(struct heap_block *b) {
  *b->link = b->next;
  if (b->next) b->next->link = b->link;
}

static void *put_in(struct heap *h, struct heap_block *b) {
  b->next = h->blocks;
  b->link = &h->blocks;
  if (b->next) b->next->link = &b->next;
  h->blocks = b;
  return b->data;
}

static bool admits(struct heap *h, bool new_string, size_t old_size, size_t new_size) {
  h->long_string = new_string && new_size > HEAP_MAX_STRING + 64; /* 64: the string's own header */
  return !h->long_string && new_size <= HEAP_MAX_BYTES &&
         h->bytes - old_size + new_size <= HEAP_MAX_BYTES;
}

void *heap_alloc(void *ud, void *p, size_t old_size, size_t new_size) {
  struct heap *h = ud;
  const bool new_string = !p && old_size == LUA_TSTRING; /* Lua says what a new block is for */
  if (!p) old_size = 0;
  if (new_size == 0) {
    if (p) {
      take_out(block_of(p));
      alloc_free(h->allocator, block_of(p));
    }
    h->bytes -= old_size;
    return NULL;
  }
  if (new_size > old_size && !admits(h, new_string, old_size, new_size)) return NULL;
  struct heap_block *old = p ? block_of(p) : NULL;
  if (old) take_out(old);
  struct heap_block *b = alloc_resize(h->allocator, old, sizeof *b + new_size);
  if (!b) { /* Lua relies on a block that shrinks */
    if (old) put_in(h, old);
    h->exhausted = true;
    return new_size <= old_size ? p : NULL;
  }
  h->bytes += new_size - old_size;
  return put_in(h, b);
}

void heap_finish(struct heap *h) {
  while (h->blocks) {
    struct heap_block *next = h->blocks->next;
    alloc_free(h->allocator, h->blocks);
    h->blocks = next;
  }
  h->bytes = 0;
}
