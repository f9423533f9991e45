/* SPDX-License-Identifier: MIT
 * asan.h - AddressSanitizer's runtime, if this process has it loaded.
 *
 * Looked up by name, so that an uninstrumented libmaskc serves an instrumented kernel. Each member
 * is NULL where the runtime is absent.
 */
#ifndef MKC_CPU_ASAN_H
#define MKC_CPU_ASAN_H

#include <stdbool.h>
#include <stddef.h>

struct asan {
  void (*start_switch)(void **fake_stack, const void *bottom, size_t bytes);
  void (*finish_switch)(void *fake_stack, const void **ret_old_bottom, size_t *ret_old_bytes);
  void (*poison)(const volatile void *p, size_t bytes);
  void (*unpoison)(const volatile void *p, size_t bytes);
};

/* False: it is not loaded. */
bool asan_find(struct asan *ret);

/* True: UndefinedBehaviorSanitizer's handlers are loaded too. */
bool ubsan_loaded(void);

#endif
