/* SPDX-License-Identifier: MIT
 * arena.c - a list of blocks that double in size, see arena.h.
 */
#include "arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_BLOCK = 16 * 1024, ALIGN = _Alignof(max_align_t) };

struct arena_block {
  struct arena_block *next;
  size_t used, size;
  _Alignas(max_align_t) char data[];
};

void arena_init(struct arena *a, jmp_buf *out_of_memory) {
  *a = (struct arena){.out_of_memory = out_of_memory};
}

void arena_finish(struct arena *a) {
  while (a->blocks) {
    struct arena_block *next = a->blocks->next;
    alloc_free(a->allocator, a->blocks);
    a->blocks = next;
  }
  a->bytes = 0;
}

void *arena_alloc(struct arena *a, size_t bytes) {
  bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
  struct arena_block *b = a->blocks;
  if (!b || b->size - b->used < bytes) {
    size_t size = b ? 2 * b->size : FIRST_BLOCK;
    if (size < bytes) size = bytes;
    b = alloc_zeroed(a->allocator, sizeof *b + size);
    if (!b) longjmp(*a->out_of_memory, 1);
    b->size = size;
    b->next = a->blocks;
    a->blocks = b;
  }
  void *p = b->data + b->used;
  b->used += bytes;
  a->bytes += bytes;
  return p;
}

char *arena_strdup(struct arena *a, const char *s) {
  const size_t n = strlen(s) + 1;
  return memcpy(arena_alloc(a, n), s, n);
}

char *arena_printf(struct arena *a, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  const int n = vsnprintf(NULL, 0, fmt, ap);
  char *s = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
  if (n > 0) vsnprintf(s, (size_t)n + 1, fmt, again);
  va_end(again);
  va_end(ap);
  return s;
}
