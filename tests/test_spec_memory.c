/* SPDX-License-Identifier: MIT
 * test_spec_memory.c - loading a spec when memory runs out, at every allocation in turn: the arena
 * jumps to whoever created it, and nothing leaks (which AddressSanitizer sees).
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "../gen/ir.h"

static int allowed; /* allocations until one fails; negative: none fails */

static void *failing_alloc(void *user, void *block, size_t bytes) {
  (void)user;
  if (bytes == 0) {
    free(block);
    return NULL;
  }
  return allowed-- == 0 ? NULL : realloc(block, bytes);
}

static const char good[] = "local dt = softplus(input 'dt' + param 'b')\n"
                           "return variant { name = 'x', v = dt * input { 'x', dv },\n"
                           "  transition = { decay(exp(-exp(param 'A') * dt)) } }\n";
static const char bad[] = "return variant { name = 'x', transition = { decay(input 'g') } }\n";

enum outcome { LOADED, REFUSED, OUT_OF_MEMORY };

static enum outcome try_load(const char *text, int n) {
  struct arena a;
  jmp_buf out_of_memory;
  struct error err = {0};
  const struct allocator allocator = {failing_alloc, NULL};
  arena_init(&a, &out_of_memory);
  a.allocator = &allocator;
  if (setjmp(out_of_memory)) {
    arena_finish(&a);
    return OUT_OF_MEMORY;
  }
  const struct variant *v;
  allowed = n;
  const mkc_status status = spec_load("x.lua", text, strlen(text), &a, &v, &err);
  assert_ptr_equal(a.out_of_memory, &out_of_memory);
  error_finish(&err);
  arena_finish(&a);
  return status == MKC_OK ? LOADED : REFUSED;
}

static int failures_until(const char *text, enum outcome want) {
  int failures = 0;
  for (int n = 0; n < 5000; n++) {
    const enum outcome got = try_load(text, n);
    if (got == want && allowed >= 0) return failures; /* it needed fewer than n */
    if (got == OUT_OF_MEMORY) failures++;
  }
  return -1;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  assert_true(failures_until(good, LOADED) > 50);
  assert_true(failures_until(bad, REFUSED) > 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
