/* SPDX-License-Identifier: MIT
 * The cache keeps what it was given and nothing else: damage, strangers, full and forbidden
 * directories become misses, and one warning at most.
 */
#include "cache_fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

enum { NOBODY = 65534 };

static char *copy_of(const char *text) {
  return text ? strdup(text) : NULL;
}

static void assert_mode(const char *path, unsigned mode) {
  struct stat st;
  assert_int_equal(lstat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, mode);
}

/* ---- keys ---- */

static void pair_key(const char *a, const char *b, struct cache_key *ret) {
  struct cache_keygen g;
  cache_key_begin(&g, "test");
  cache_key_string(&g, "x", a);
  cache_key_string(&g, "x", b);
  cache_key_end(&g, ret);
}

static struct cache_key source_key(const char *text) {
  struct cache_keygen g;
  struct cache_key key;
  cache_key_begin(&g, "test");
  cache_key_source(&g, "source", text);
  cache_key_end(&g, &key);
  return key;
}

#define assert_same_key(a, b) assert_memory_equal((a).bytes, (b).bytes, SHA256_BYTES)
#define assert_other_key(a, b) assert_memory_not_equal((a).bytes, (b).bytes, SHA256_BYTES)

static void test_key_fields(void **state) {
  (void)state;
  struct cache_key a, b, c;
  pair_key("ab", "c", &a);
  pair_key("a", "bc", &b);
  pair_key("ab", "c", &c);
  assert_other_key(a, b);
  assert_same_key(a, c);
  struct cache_keygen g;
  cache_key_begin(&g, "tset");
  cache_key_string(&g, "x", "ab");
  cache_key_string(&g, "x", "c");
  cache_key_end(&g, &c);
  assert_other_key(a, c);
}

static void test_key_source(void **state) {
  (void)state;
  const struct cache_key plain = source_key("int a;\nint b;\n");
  assert_same_key(plain, source_key("#line 7 \"/home/a/x.lua\"\nint a;\nint b;\n"));
  assert_same_key(plain, source_key("int a;\n  # line 9\nint b;\n# 3 \"y\"\n#line 1"));
  assert_other_key(plain, source_key("int a;\nint c;\n"));
  assert_other_key(plain, source_key("#define line 7\nint a;\nint b;\n"));
  assert_other_key(plain, source_key("#lines 7\nint a;\nint b;\n"));
  assert_other_key(plain, source_key("int a;\nint b;"));
}

/* ---- the good case ---- */

static void test_roundtrip(void **state) {
  struct fixture *f = *state;
  char path[4400], tmp[4300];
  assert_false(has(f->cache, "one", "1"));
  put(f->cache, "one", "first");
  put(f->cache, "empty", "");
  assert_true(has(f->cache, "one", "first"));
  reopen(f);
  assert_true(has(f->cache, "one", "first"));
  assert_true(has(f->cache, "empty", ""));
  assert_false(has(f->cache, "two", ""));
  put(f->cache, "one", "again");
  reopen(f);
  assert_true(has(f->cache, "one", "again"));
  entry_path(f, "one", path);
  assert_mode(path, 0600);
  assert_mode(f->dir, 0700);
  snprintf(tmp, sizeof tmp, "%s/v1/tmp", f->dir);
  assert_int_equal(count_files(tmp), 0);
  assert_int_equal(count_files(f->dir), 2);
  assert_int_equal(f->warnings, 0);
}

static void test_large(void **state) {
  struct fixture *f = *state;
  const size_t len = 3000001;
  const struct cache_key key = key_of("large");
  unsigned char *data = malloc(len);
  void *back;
  size_t back_len;
  for (size_t i = 0; i < len; i++) data[i] = (unsigned char)(i * i >> 7);
  cache_put(f->cache, &key, data, len, "");
  assert_true(cache_get(f->cache, &key, &back, &back_len));
  assert_int_equal(back_len, len);
  assert_memory_equal(back, data, len);
  free(back);
  free(data);
}

static void test_usable(void **state) {
  struct fixture *f = *state;
  const char *why;
  assert_true(cache_usable(f->cache, &why));
  assert_contains(why, "trusted");
  assert_string_equal(cache_dir(f->cache), f->dir);
}

/* ---- damage ---- */

/* A miss, and the file is gone, so that the next put is not in its way. */
static void expect_removed(struct fixture *f, const char *path) {
  struct stat st;
  assert_false(has(f->cache, "one", "first"));
  assert_int_equal(lstat(path, &st), -1);
  put(f->cache, "one", "first");
  assert_true(has(f->cache, "one", "first"));
}

static void test_every_flipped_byte(void **state) {
  struct fixture *f = *state;
  char path[4400];
  size_t len;
  put(f->cache, "one", "first");
  entry_path(f, "one", path);
  char *good = read_file(path, &len);
  assert_non_null(good);
  for (size_t i = 0; i < len; i++) {
    good[i] ^= 0x10;
    assert_true(write_file(path, good, len));
    good[i] ^= 0x10;
    assert_int_equal(chmod(path, 0600), 0);
    expect_removed(f, path);
  }
  free(good);
}

static void test_every_length(void **state) {
  struct fixture *f = *state;
  char path[4400];
  size_t len;
  put(f->cache, "one", "first");
  entry_path(f, "one", path);
  char *good = read_file(path, &len);
  good = realloc(good, len + 1);
  good[len] = 0;
  for (size_t n = 0; n <= len + 1; n++) {
    if (n == len) continue;
    assert_true(write_file(path, good, n));
    assert_int_equal(chmod(path, 0600), 0);
    expect_removed(f, path);
  }
  free(good);
}

/* ---- strangers ---- */

static void test_foreign_entries(void **state) {
  struct fixture *f = *state;
  char path[4400], other[4400];
  put(f->cache, "one", "first");
  put(f->cache, "two", "second");
  entry_path(f, "one", path);
  entry_path(f, "two", other);
  assert_int_equal(rename(other, path), 0); /* a good entry under another's name */
  expect_removed(f, path);
  assert_int_equal(chmod(path, 0620), 0); /* others may have written to it */
  expect_removed(f, path);
  assert_int_equal(rename(path, other), 0);
  assert_int_equal(symlink(other, path), 0);
  expect_removed(f, path);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkfifo(path, 0600), 0); /* must not hang */
  expect_removed(f, path);
  assert_int_equal(f->warnings, 0);
}

static void test_directory_in_the_way(void **state) {
  struct fixture *f = *state;
  char path[4400];
  put(f->cache, "one", "first");
  entry_path(f, "one", path);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_false(has(f->cache, "one", "first"));
  put(f->cache, "one", "first");
  assert_true(has(f->cache, "one", "first")); /* from memory */
  assert_int_equal(f->warnings, 1);
}

/* ---- directories that will not do ---- */

static void expect_memory_only(struct fixture *f, const char *warning) {
  const char *why;
  put(f->cache, "one", "first");
  put(f->cache, "two", "second");
  assert_true(has(f->cache, "one", "first"));
  assert_true(has(f->cache, "two", "second"));
  assert_false(has(f->cache, "three", ""));
  assert_false(cache_usable(f->cache, &why));
  assert_int_equal(f->warnings, 1);
  assert_contains(f->warning, warning);
  assert_contains(f->warning, "kept in memory only");
}

static void test_no_home(void **state) {
  struct fixture *f = *state;
  char *home = copy_of(getenv("HOME"));
  cache_destroy(f->cache);
  unsetenv("HOME");
  setenv("XDG_CACHE_HOME", "relative/is/ignored", 1);
  open_cache(f, NULL);
  expect_memory_only(f, "no directory");
  assert_string_equal(cache_dir(f->cache), "");
  unsetenv("XDG_CACHE_HOME");
  if (home) setenv("HOME", home, 1);
  free(home);
}

/* MASKC_CACHE_DIR before XDG_CACHE_HOME before HOME. */
static void test_places(void **state) {
  struct fixture *f = *state;
  char *home = copy_of(getenv("HOME"));
  char expected[4300];
  const char *const names[] = {"HOME", "XDG_CACHE_HOME", "MASKC_CACHE_DIR"};
  const char *const ends[] = {"/HOME/.cache/maskc", "/XDG_CACHE_HOME/maskc", "/MASKC_CACHE_DIR"};
  for (int i = 0; i < 3; i++) {
    snprintf(expected, sizeof expected, "%s/%s", f->root, names[i]);
    setenv(names[i], expected, 1);
    cache_destroy(f->cache);
    open_cache(f, NULL);
    put(f->cache, "one", "first");
    snprintf(expected, sizeof expected, "%s%s", f->root, ends[i]);
    assert_string_equal(cache_dir(f->cache), expected);
    assert_int_equal(count_files(expected), 1);
  }
  unsetenv("XDG_CACHE_HOME");
  unsetenv("MASKC_CACHE_DIR");
  if (home) setenv("HOME", home, 1);
  free(home);
}

static void test_writable_by_others(void **state) {
  struct fixture *f = *state;
  put(f->cache, "one", "a stranger's");
  assert_int_equal(chmod(f->dir, 0777), 0);
  reopen(f);
  assert_false(has(f->cache, "one", ""));
  expect_memory_only(f, "mode 0777");
  assert_contains(f->warning, "chmod go-w");
}

static void test_inner_directory_writable_by_others(void **state) {
  struct fixture *f = *state;
  char path[4400];
  put(f->cache, "one", "a stranger's");
  entry_path(f, "one", path);
  *strrchr(path, '/') = 0;
  assert_int_equal(chmod(path, 0770), 0);
  assert_false(has(f->cache, "one", ""));
}

static void test_symbolic_link(void **state) {
  struct fixture *f = *state;
  char link[4300];
  put(f->cache, "one", "first");
  snprintf(link, sizeof link, "%s/link", f->root);
  assert_int_equal(symlink(f->dir, link), 0);
  cache_destroy(f->cache);
  open_cache(f, link);
  expect_memory_only(f, "symbolic link");
}

static void test_file_in_the_way(void **state) {
  struct fixture *f = *state;
  char path[4300];
  snprintf(path, sizeof path, "%s/file", f->root);
  assert_true(write_file(path, "x", 1));
  cache_destroy(f->cache);
  open_cache(f, path);
  expect_memory_only(f, "Not a directory");
}

static void test_disabled(void **state) {
  struct fixture *f = *state;
  setenv("MASKC_CACHE_DISABLE", "1", 1);
  put(f->cache, "one", "first");
  assert_true(has(f->cache, "one", "first"));
  assert_int_equal(count_files(f->root), 0);
  assert_int_equal(f->warnings, 0);
  unsetenv("MASKC_CACHE_DISABLE");
}

/* Runs in a child; cmocka's failures end it with a status that is not 0. */
static void in_child(void (*body)(struct fixture *), struct fixture *f) {
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    body(f);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

/* As somebody whom modes bind (root is not), in a directory of theirs without write permission. */
static void read_only_body(struct fixture *f) {
  const char *why;
  if (geteuid() == 0) CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
  open_cache(f, f->dir);
  put(f->cache, "one", "first");
  CHECK(f->warnings == 0);
  cache_destroy(f->cache);
  char command[9000];
  snprintf(command, sizeof command, "chmod -R a-w '%s'", f->dir);
  CHECK(system(command) == 0);
  open_cache(f, f->dir);
  CHECK(has(f->cache, "one", "first"));
  CHECK(!cache_usable(f->cache, &why) && strstr(why, "not writable"));
  put(f->cache, "two", "second");
  put(f->cache, "three", "third");
  CHECK(has(f->cache, "two", "second"));
  CHECK(f->warnings == 1 && strstr(f->warning, "Permission denied"));
  cache_destroy(f->cache);
  snprintf(command, sizeof command, "chmod -R u+w '%s'", f->dir);
  CHECK(system(command) == 0);
}

static void test_read_only(void **state) {
  struct fixture *f = *state;
  assert_int_equal(chmod(f->root, 0777), 0);
  in_child(read_only_body, f);
}

static void other_owner_body(struct fixture *f) {
  CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
  open_cache(f, f->dir);
  CHECK(!has(f->cache, "one", ""));
  CHECK(f->warnings == 1 && strstr(f->warning, "belongs to user 0"));
}

static void test_other_owner(void **state) {
  struct fixture *f = *state;
  if (geteuid() != 0) skip(); /* needs two users */
  put(f->cache, "one", "first");
  char command[9000];
  snprintf(command, sizeof command, "chmod -R a+rX '%s'", f->root);
  assert_int_equal(system(command), 0);
  in_child(other_owner_body, f);
}

/* Writing fails half way, as on a full disk. */
static void full_body(struct fixture *f) {
  put(f->cache, "before", "fits");
  const struct rlimit limit = {50, 50};
  signal(SIGXFSZ, SIG_IGN);
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  put(f->cache, "one", "first");
  CHECK(has(f->cache, "one", "first"));
  CHECK(has(f->cache, "before", "fits"));
  CHECK(f->warnings == 1 && strstr(f->warning, "File too large"));
}

static void test_full(void **state) {
  struct fixture *f = *state;
  in_child(full_body, f);
  assert_int_equal(count_files(f->dir), 1); /* no half entry, no temporary */
  reopen(f);
  assert_true(has(f->cache, "before", "fits"));
  assert_false(has(f->cache, "one", ""));
}

/* A disk of 64 KiB, in a mount namespace of this child's own. */
static void small_disk_body(struct fixture *f) {
  const size_t len = 1 << 20;
  const struct cache_key key = key_of("large");
  void *large = calloc(1, len), *back;
  size_t back_len;
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    _exit(77);
  if (mount("tmpfs", f->root, "tmpfs", 0, "size=64k,mode=700") != 0) _exit(77);
  cache_put(f->cache, &key, large, len, "");
  CHECK(f->warnings == 1 && strstr(f->warning, "No space left on device"));
  CHECK(cache_get(f->cache, &key, &back, &back_len) && back_len == len); /* from memory */
  CHECK(count_files(f->dir) == 0);
  put(f->cache, "small", "fits");
  CHECK(has(f->cache, "small", "fits") && count_files(f->dir) == 1);
  CHECK(f->warnings == 1);
}

static void test_full_disk(void **state) {
  struct fixture *f = *state;
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    small_disk_body(f);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) skip(); /* no right to mount */
  assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- many at once ---- */

enum { WRITERS = 6, ROUNDS = 40, KEYS = 5 };

static void writer(struct fixture *f) {
  char name[8], text[4000];
  open_cache(f, f->dir);
  for (int i = 0; i < ROUNDS * KEYS; i++) {
    snprintf(name, sizeof name, "%d", i % KEYS);
    memset(text, 'a' + i % KEYS, sizeof text - 1);
    text[sizeof text - 1] = 0;
    has(f->cache, name, text); /* a miss or the right bytes; fails otherwise */
    put(f->cache, name, text);
    CHECK(has(f->cache, name, text));
  }
  CHECK(f->warnings == 0);
}

static void test_concurrent_writers(void **state) {
  struct fixture *f = *state;
  char tmp[4300];
  run_writers(f, WRITERS, writer);
  assert_int_equal(count_files(f->dir), KEYS);
  snprintf(tmp, sizeof tmp, "%s/v1/tmp", f->dir);
  assert_int_equal(count_files(tmp), 0);
}

/* A writer that was killed leaves a temporary; it goes after an hour, a fresh one stays. */
static void test_sweep(void **state) {
  struct fixture *f = *state;
  char old[4400], fresh[4400];
  put(f->cache, "one", "first");
  snprintf(old, sizeof old, "%s/v1/tmp/old", f->dir);
  snprintf(fresh, sizeof fresh, "%s/v1/tmp/fresh", f->dir);
  assert_true(write_file(old, "x", 1) && write_file(fresh, "x", 1));
  const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
  assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
  reopen(f);
  put(f->cache, "two", "second");
  assert_int_equal(access(old, F_OK), -1);
  assert_int_equal(access(fresh, F_OK), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_key_fields),
      T(test_key_source),
      T(test_roundtrip),
      T(test_large),
      T(test_usable),
      T(test_every_flipped_byte),
      T(test_every_length),
      T(test_foreign_entries),
      T(test_directory_in_the_way),
      T(test_no_home),
      T(test_places),
      T(test_writable_by_others),
      T(test_inner_directory_writable_by_others),
      T(test_symbolic_link),
      T(test_file_in_the_way),
      T(test_disabled),
      T(test_read_only),
      T(test_other_owner),
      T(test_full),
      T(test_full_disk),
      T(test_concurrent_writers),
      T(test_sweep),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
