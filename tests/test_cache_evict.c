/* SPDX-License-Identifier: MIT
 * test_cache_evict.c - tests runtime/cache_evict.c and what cache.c does with it: counting, pruning
 * and the limit. What was used least recently goes first, and what is not the cache's stays.
 */
#include "cache_fixture.h"

enum { WRITERS = 6, ROUNDS = 40, KEYS = 5 };

enum { ENTRY_BYTES = 96 + 7 + 1000 }; /* head, "a test\n", payload */

static void put_thousand(struct cache *c, const char *name) {
  char text[1001];
  memset(text, name[0], 1000);
  text[1000] = 0;
  put(c, name, text);
}

static bool on_disk(const struct fixture *f, const char *name) {
  char path[4400];
  entry_path(f, name, path);
  return access(path, F_OK) == 0;
}

/* Last used then, in seconds since 1970. */
static void set_used(const struct fixture *f, const char *name, long when) {
  char path[4400];
  const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
  entry_path(f, name, path);
  assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_stat(void **state) {
  struct fixture *f = *state;
  struct cache_usage u;
  assert_true(cache_stat(f->cache, &u));
  assert_int_equal(u.entries, 0);
  assert_int_equal(u.oldest, 0);
  put_thousand(f->cache, "a");
  put_thousand(f->cache, "b");
  put(f->cache, "c", "");
  set_used(f, "a", 2000);
  set_used(f, "b", 1000);
  set_used(f, "c", 3000);
  assert_true(cache_stat(f->cache, &u));
  assert_int_equal(u.entries, 3);
  assert_int_equal(u.bytes, 2 * ENTRY_BYTES + 96 + 7);
  assert_int_equal(u.oldest, 1000);
  assert_int_equal(u.newest, 3000);
  assert_int_equal(chmod(f->dir, 0777), 0);
  reopen(f);
  assert_false(cache_stat(f->cache, &u));
  assert_int_equal(u.entries, 0);
}

static void test_a_hit_is_a_use(void **state) {
  struct fixture *f = *state;
  char path[4400];
  struct stat st;
  put(f->cache, "one", "first");
  set_used(f, "one", 1000);
  assert_true(has(f->cache, "one", "first"));
  entry_path(f, "one", path);
  assert_int_equal(stat(path, &st), 0);
  assert_true(st.st_mtime > 1000000);
}

static void test_prune(void **state) {
  struct fixture *f = *state;
  struct cache_usage removed, left;
  struct error err = {0};
  static const char *const names[] = {"a", "b", "c", "d"};
  for (int i = 0; i < 4; i++) {
    put_thousand(f->cache, names[i]);
    set_used(f, names[i], 1000 + i);
  }
  set_used(f, "a", 5000);
  assert_int_equal(cache_prune(f->cache, 4 * ENTRY_BYTES, &removed, &left, &err), MKC_OK);
  assert_int_equal(removed.entries, 0);
  assert_int_equal(cache_prune(f->cache, 3 * ENTRY_BYTES - 1, &removed, &left, &err), MKC_OK);
  assert_int_equal(removed.entries, 2);
  assert_int_equal(removed.bytes, 2 * ENTRY_BYTES);
  assert_int_equal(left.entries, 2);
  assert_int_equal(left.bytes, 2 * ENTRY_BYTES);
  assert_true(on_disk(f, "a") && !on_disk(f, "b") && !on_disk(f, "c") && on_disk(f, "d"));
  assert_int_equal(cache_prune(f->cache, 0, &removed, &left, &err), MKC_OK);
  assert_int_equal(left.entries, 0);
  assert_int_equal(count_files(f->dir), 0);
  put_thousand(f->cache, "a");
  assert_true(on_disk(f, "a"));
  assert_int_equal(chmod(f->dir, 0777), 0);
  reopen(f);
  assert_int_equal(cache_prune(f->cache, 0, &removed, &left, &err), MKC_E_SYSTEM);
  assert_contains(error_text(&err), "chmod go-w");
  assert_true(on_disk(f, "a"));
  error_finish(&err);
}

/* What is not an entry stays, and so does what a link names. */
static void test_prune_leaves_strangers(void **state) {
  struct fixture *f = *state;
  char path[4400], text[4500], link[4500], outside[4300], command[20000];
  struct cache_usage removed, left;
  struct error err = {0};
  put(f->cache, "one", "first");
  entry_path(f, "one", path);
  snprintf(outside, sizeof outside, "%s/outside", f->root);
  assert_true(write_file(outside, "x", 1));
  const char *name = strrchr(path, '/') + 1;
  snprintf(text, sizeof text, "%.*s/notes.txt", (int)(name - 1 - path), path);
  assert_true(write_file(text, "x", 1));
  snprintf(link, sizeof link, "%.*s/%c%s", (int)(name - 1 - path), path, name[0] == '0' ? '1' : '0',
           name + 1); /* an entry's name */
  assert_int_equal(symlink(outside, link), 0);
  snprintf(command, sizeof command,
           "cd '%s/v1' && mkdir -p far/away zz && cp '%s' far/away/%s && cp '%s' zz/%s && "
           "cp '%s' %s && d=$(ls -d ?? | head -1) && "
           "for s in 00 11; do test -e $s || { ln -s far/away $s; break; }; done && mkdir -p "
           "$d/%s0",
           f->dir, path, name, path, name, path, name, name);
  assert_int_equal(system(command), 0);
  const int before = count_files(f->root);
  assert_int_equal(cache_prune(f->cache, 0, &removed, &left, &err), MKC_OK);
  assert_int_equal(removed.entries, 1);
  assert_false(on_disk(f, "one"));
  assert_int_equal(count_files(f->root), before - 1);
  struct stat st;
  assert_int_equal(lstat(link, &st), 0);
}

static void test_prune_sweeps(void **state) {
  struct fixture *f = *state;
  char old[4400];
  struct cache_usage removed, left;
  struct error err = {0};
  put(f->cache, "one", "first");
  snprintf(old, sizeof old, "%s/v1/tmp/old", f->dir);
  assert_true(write_file(old, "x", 1));
  const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
  assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
  assert_int_equal(cache_prune(f->cache, UINT64_MAX, &removed, &left, &err), MKC_OK);
  assert_int_equal(access(old, F_OK), -1);
  assert_true(on_disk(f, "one"));
}

/* The least recently used goes, a hit counting as a use; what was just put stays. */
static void test_limit(void **state) {
  struct fixture *f = *state;
  struct cache_usage u;
  char limit[32];
  snprintf(limit, sizeof limit, "%d", 3 * ENTRY_BYTES);
  setenv("MASKC_CACHE_MAX_SIZE", limit, 1);
  reopen(f);
  put_thousand(f->cache, "a");
  put_thousand(f->cache, "b");
  put_thousand(f->cache, "c");
  set_used(f, "a", 1000);
  set_used(f, "b", 2000);
  set_used(f, "c", 3000);
  assert_true(on_disk(f, "a"));
  char text[1001];
  memset(text, 'a', 1000);
  text[1000] = 0;
  assert_true(has(f->cache, "a", text));
  put_thousand(f->cache, "d");
  assert_true(on_disk(f, "a") && !on_disk(f, "b") && !on_disk(f, "c") && on_disk(f, "d"));
  assert_true(cache_stat(f->cache, &u));
  assert_true(u.bytes <= 3 * ENTRY_BYTES);
  setenv("MASKC_CACHE_MAX_SIZE", "10", 1);
  reopen(f);
  put_thousand(f->cache, "e");
  assert_true(on_disk(f, "e"));
  assert_int_equal(count_files(f->dir), 1);
  put_thousand(f->cache, "f");
  assert_true(!on_disk(f, "e") && on_disk(f, "f"));
  unsetenv("MASKC_CACHE_MAX_SIZE");
  assert_int_equal(f->warnings, 0);
}

/* Writers that evict each other's entries: every get is a miss or the right bytes. */
static void evicting_writer(struct fixture *f) {
  char name[8], text[1001];
  open_cache(f, f->dir);
  for (int i = 0; i < ROUNDS * KEYS; i++) {
    snprintf(name, sizeof name, "%d", i % KEYS);
    memset(text, name[0], 1000);
    text[1000] = 0;
    has(f->cache, name, text);
    put(f->cache, name, text);
  }
  CHECK(f->warnings == 0);
}

static void test_limit_with_many_writers(void **state) {
  struct fixture *f = *state;
  char limit[32];
  snprintf(limit, sizeof limit, "%d", 2 * ENTRY_BYTES);
  setenv("MASKC_CACHE_MAX_SIZE", limit, 1);
  run_writers(f, WRITERS, evicting_writer);
  reopen(f);
  put_thousand(f->cache, "last");
  unsetenv("MASKC_CACHE_MAX_SIZE");
  assert_true(count_files(f->dir) <= 2);
}

static void test_sizes(void **state) {
  struct fixture *f = *state;
  uint64_t n;
  assert_true(cache_size_parse("0", &n) && n == 0);
  assert_true(cache_size_parse("12", &n) && n == 12);
  assert_true(cache_size_parse("3K", &n) && n == 3072);
  assert_true(cache_size_parse("5M", &n) && n == 5 << 20);
  assert_true(cache_size_parse("2G", &n) && n == UINT64_C(2) << 30);
  static const char *const bad[] = {
      "", "G", "-1", "1k", "1GB", "1 G", "1.5G", "99999999999999999999", "18446744073709551615G"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (cache_size_parse(bad[i], &n)) fail_msg("accepted: %s", bad[i]);
  assert_true(cache_max_bytes(f->cache) == 1 << 30);
  setenv("MASKC_CACHE_MAX_SIZE", "0", 1);
  reopen(f);
  assert_true(cache_max_bytes(f->cache) == UINT64_MAX);
  assert_int_equal(f->warnings, 0);
  setenv("MASKC_CACHE_MAX_SIZE", "lots", 1);
  reopen(f);
  unsetenv("MASKC_CACHE_MAX_SIZE");
  assert_true(cache_max_bytes(f->cache) == 1 << 30);
  assert_int_equal(f->warnings, 1);
  assert_contains(f->warning, "\"lots\"");
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_stat),
      T(test_a_hit_is_a_use),
      T(test_prune),
      T(test_prune_leaves_strangers),
      T(test_prune_sweeps),
      T(test_limit),
      T(test_limit_with_many_writers),
      T(test_sizes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
