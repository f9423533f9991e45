/* SPDX-License-Identifier: MIT
 * test_alloc.c - host memory comes from where mkc_context_options.alloc says, goes back there, and
 * its end is MKC_E_OUT_OF_MEMORY at whichever allocation it comes.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "context.h"

struct hook {
  int allowed; /* allocations until one fails; negative: none fails */
  int calls, live;
};

static void *hook_alloc(void *user, void *block, size_t bytes) {
  struct hook *h = user;
  if (bytes == 0) {
    assert_non_null(block);
    h->live--;
    free(block);
    return NULL;
  }
  h->calls++;
  if (h->allowed-- == 0) return NULL;
  h->live += !block;
  return realloc(block, bytes);
}

static mkc_status create(struct hook *h, mkc_context **ret_ctx, mkc_op **ret_op) {
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  static const mkc_setting levels = {"levels", 8};
  options.alloc = hook_alloc;
  options.alloc_user = h;
  options.cache_dir = "/nowhere"; /* it is copied */
  o.spec_text = "local n = option { 'levels', 4 }\n"
                "return variant { name = 'x', scale = n, transition = { decay(0.5) } }\n";
  o.device = "cpu";
  o.arch = "sm_80";
  o.dk = o.dv = 64;
  o.settings = &levels;
  o.nsettings = 1;
  *ret_op = NULL;
  const mkc_status st = mkc_context_create(&options, ret_ctx);
  return st ? st : mkc_op_create(*ret_ctx, &o, ret_op);
}

static void test_all_of_it_goes_back(void **state) {
  (void)state;
  struct hook h = {.allowed = -1};
  mkc_context *ctx;
  mkc_op *op;
  assert_int_equal(create(&h, &ctx, &op), MKC_OK);
  assert_true(h.calls > 50);              /* Lua's are among them */
  assert_true(h.live > 5 && h.live < 20); /* what a compile took is back */
  assert_contains(mkc_op_source(op), "__global__");
  mkc_context_destroy(ctx);
  mkc_op_destroy(op);
  assert_int_equal(h.live, 0);
}

static void test_each_allocation_may_fail(void **state) {
  (void)state;
  int failures = 0;
  for (int n = 0;; n += 1 + n / 16) {
    struct hook h = {.allowed = n};
    mkc_context *ctx;
    mkc_op *op;
    const mkc_status st = create(&h, &ctx, &op);
    mkc_op_destroy(op);
    mkc_context_destroy(ctx);
    assert_int_equal(h.live, 0);
    if (st == MKC_OK) break;
    assert_int_equal(st, MKC_E_OUT_OF_MEMORY);
    assert_contains(mkc_last_error(), "memory");
    assert_null(op);
    failures++;
  }
  assert_true(failures > 20);
}

/* Code that cannot be kept on disk is the most that a context holds. */
static void test_code_in_memory(void **state) {
  (void)state;
  struct hook h = {.allowed = -1};
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  options.no_cache = 1;
  options.alloc = hook_alloc;
  options.alloc_user = &h;
  assert_int_equal(mkc_context_create(&options, &ctx), MKC_OK);
  const int before = h.live;
  const struct cache_key key = {{1}};
  cache_put(context_cache(ctx), &key, "code", 4, "");
  assert_int_equal(h.live, before + 1);
  mkc_context_destroy(ctx);
  assert_int_equal(h.live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_of_it_goes_back),
      cmocka_unit_test(test_each_allocation_may_fail),
      cmocka_unit_test(test_code_in_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
