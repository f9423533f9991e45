/* SPDX-License-Identifier: MIT
 * alloc.h - host memory from where the caller of the library wants it (mkc_context_options.alloc).
 *
 *   struct allocator a = {options->alloc, options->alloc_user};
 *   struct thing *t = alloc_zeroed(&a, sizeof *t);
 *   alloc_free(&a, t);
 *
 * A NULL allocator, and one without a function, is the C library's.
 */
#ifndef MKC_ALLOC_H
#define MKC_ALLOC_H

#include <stddef.h>

struct allocator {
  /* block NULL: new; bytes 0: free; else resize. NULL: there is no more. */
  void *(*alloc)(void *user, void *block, size_t bytes);
  void *user;
};

void *alloc_zeroed(const struct allocator *a, size_t bytes);
void *alloc_copy(const struct allocator *a, const void *data, size_t bytes);
char *alloc_strdup(const struct allocator *a, const char *s);
/* bytes is not 0; block may be NULL. What is new is not zeroed. */
void *alloc_resize(const struct allocator *a, void *block, size_t bytes);
void alloc_free(const struct allocator *a, void *block); /* NULL is fine */

#endif
