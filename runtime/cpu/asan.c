/* SPDX-License-Identifier: MIT
 * asan.c - finds the sanitizers' runtimes in this process, see asan.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "asan.h"

#include <dlfcn.h>

/* POSIX lets dlsym's pointer be a function's; ISO C has no such conversion. */
static void find(const char *name, void *ret_function) {
  *(void **)ret_function = dlsym(RTLD_DEFAULT, name);
}

bool asan_find(struct asan *ret) {
  find("__sanitizer_start_switch_fiber", (void *)&ret->start_switch);
  find("__sanitizer_finish_switch_fiber", (void *)&ret->finish_switch);
  find("__asan_poison_memory_region", (void *)&ret->poison);
  find("__asan_unpoison_memory_region", (void *)&ret->unpoison);
  if (ret->start_switch && ret->finish_switch && ret->poison && ret->unpoison) return true;
  *ret = (struct asan){0}; /* ThreadSanitizer's runtime has the first two as well */
  return false;
}

bool ubsan_loaded(void) {
  return dlsym(RTLD_DEFAULT, "__ubsan_handle_out_of_bounds_abort");
}
