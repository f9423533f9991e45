/* SPDX-License-Identifier: MIT
 * alloc.c - see alloc.h.
 */
#include "alloc.h"

#include <stdlib.h>
#include <string.h>

void *alloc_resize(const struct allocator *a, void *block, size_t bytes) {
  return a && a->alloc ? a->alloc(a->user, block, bytes) : realloc(block, bytes);
}

void *alloc_zeroed(const struct allocator *a, size_t bytes) {
  if (!a || !a->alloc) return calloc(1, bytes); /* fresh pages are zero already */
  void *block = a->alloc(a->user, NULL, bytes);
  return block ? memset(block, 0, bytes) : NULL;
}

void *alloc_copy(const struct allocator *a, const void *data, size_t bytes) {
  void *block = alloc_resize(a, NULL, bytes);
  return block ? memcpy(block, data, bytes) : NULL;
}

char *alloc_strdup(const struct allocator *a, const char *s) {
  return alloc_copy(a, s, strlen(s) + 1);
}

void alloc_free(const struct allocator *a, void *block) {
  if (a && a->alloc) {
    if (block) a->alloc(a->user, block, 0);
  } else {
    free(block);
  }
}
