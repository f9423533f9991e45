/* SPDX-License-Identifier: MIT
 * arena.h - one compile's memory: allocate freely, free once.
 *
 * arena_alloc never returns NULL: when memory runs out it jumps to arena->out_of_memory, which
 * whoever created the arena has set:
 *
 *   struct arena a; jmp_buf oom;
 *   arena_init(&a, &oom);
 *   if (setjmp(oom)) { arena_finish(&a); return error_set(err, MKC_E_OUT_OF_MEMORY, ...); }
 */
#ifndef MKC_ARENA_H
#define MKC_ARENA_H

#include <setjmp.h>
#include <stddef.h>

#include "alloc.h"

struct arena_block;

struct arena {
  const struct allocator *allocator; /* NULL: malloc; set it before anything is allocated */
  struct arena_block *blocks;
  size_t bytes; /* handed out so far */
  jmp_buf *out_of_memory;
};

void arena_init(struct arena *a, jmp_buf *out_of_memory);
void arena_finish(struct arena *a);
void *arena_alloc(struct arena *a, size_t bytes); /* zeroed, aligned for any type */
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_alloc((a), sizeof(type) * (size_t)(n)))

#endif
