/* SPDX-License-Identifier: MIT
 * One compile for many that want the same key: the lock of cache_lock.c, through the claims of
 * cache.c. A lock dies with its holder, waiting ends, and where there is no lock nobody waits.
 */
#include "cache_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void open_with_wait(struct fixture *f, int wait_ms) {
  const struct cache_options options = {
      .dir = f->dir, .wait_ms = wait_ms, .log = on_log, .log_user = f};
  cache_destroy(f->cache);
  f->cache = cache_create(&options);
  assert_non_null(f->cache);
}

/* True: a hit, of the text that every compile here gives. */
static bool get_or_claim(struct cache *c, const char *name, struct cache_claim *claim) {
  const struct cache_key key = key_of(name);
  void *data;
  size_t len;
  if (!cache_get_or_claim(c, &key, &data, &len, claim)) return false;
  CHECK(len == strlen("code") && !memcmp(data, "code", len));
  free(data);
  return true;
}

/* A compile takes a while, and leaves a byte in a file. */
static void compile_or_get(struct fixture *f, struct cache *c) {
  struct cache_claim claim;
  char path[4300];
  if (get_or_claim(c, "cold", &claim)) return;
  snprintf(path, sizeof path, "%s/compiles", f->root);
  const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  CHECK(fd >= 0 && write(fd, "x", 1) == 1);
  close(fd);
  usleep(100000);
  put(c, "cold", "code");
  cache_claim_release(&claim);
}

static size_t compiles(const struct fixture *f) {
  char path[4300];
  size_t n = 0;
  snprintf(path, sizeof path, "%s/compiles", f->root);
  free(read_file(path, &n));
  return n;
}

/* ---- many at once ---- */

static void one_of_many(struct fixture *f) {
  open_cache(f, f->dir);
  compile_or_get(f, f->cache);
  CHECK(has(f->cache, "cold", "code"));
  CHECK(f->warnings == 0);
}

static void test_processes(void **state) {
  struct fixture *f = *state;
  run_writers(f, 8, one_of_many);
  assert_int_equal(compiles(f), 1);
}

static void *one_thread(void *user) {
  struct fixture *f = user;
  compile_or_get(f, f->cache);
  return NULL;
}

static void test_threads(void **state) {
  struct fixture *f = *state;
  pthread_t threads[8];
  for (int i = 0; i < 8; i++) assert_int_equal(pthread_create(&threads[i], NULL, one_thread, f), 0);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  assert_int_equal(compiles(f), 1);
}

/* ---- a holder that does not put ---- */

/* A child that holds the claim of "cold" and waits to be killed. */
static pid_t start_holder(struct fixture *f) {
  int ready[2];
  char byte;
  assert_int_equal(pipe(ready), 0);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    struct cache_claim claim;
    open_cache(f, f->dir);
    CHECK(!get_or_claim(f->cache, "cold", &claim) && claim.lock >= 0);
    CHECK(write(ready[1], "x", 1) == 1);
    for (;;) pause();
  }
  close(ready[1]);
  assert_int_equal(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  return pid;
}

static void kill_holder(pid_t pid) {
  int status;
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
}

static void test_lock_dies_with_its_holder(void **state) {
  struct fixture *f = *state;
  struct cache_claim claim;
  open_with_wait(f, 20000);
  const pid_t holder = start_holder(f);
  kill_holder(holder);
  assert_false(get_or_claim(f->cache, "cold", &claim));
  assert_true(claim.lock >= 0);
  cache_claim_release(&claim);
  assert_int_equal(f->warnings, 0);
}

static void test_wait_ends(void **state) {
  struct fixture *f = *state;
  struct cache_claim claim;
  open_with_wait(f, 150);
  const pid_t holder = start_holder(f);
  const double start = seconds();
  assert_false(get_or_claim(f->cache, "cold", &claim));
  assert_true(seconds() - start >= 0.149);
  assert_int_equal(claim.lock, -1);
  assert_int_equal(f->warnings, 1);
  assert_contains(f->warning, "/v1/lock for 150 ms");
  put(f->cache, "cold", "code"); /* the lock saves compiles; nothing depends on it */
  cache_claim_release(&claim);
  assert_true(get_or_claim(f->cache, "cold", &claim));
  kill_holder(holder);
}

static void test_other_keys_do_not_wait(void **state) {
  struct fixture *f = *state;
  struct cache_claim claim;
  open_with_wait(f, 20000);
  const pid_t holder = start_holder(f);
  assert_false(get_or_claim(f->cache, "other", &claim));
  assert_true(claim.lock >= 0);
  cache_claim_release(&claim);
  kill_holder(holder);
}

/* What did not compile is not waited for twice. */
static void test_claim_without_put(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 2; i++) {
    struct cache_claim claim;
    assert_false(get_or_claim(f->cache, "cold", &claim));
    assert_true(claim.lock >= 0);
    cache_claim_release(&claim);
    cache_claim_release(&claim);
  }
}

/* A child that was forked while the claim was held, and lives on, has the descriptor too. */
static void test_fork_under_a_claim(void **state) {
  struct fixture *f = *state;
  struct cache_claim claim;
  open_with_wait(f, 20000);
  assert_false(get_or_claim(f->cache, "cold", &claim));
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0)
    for (;;) pause();
  cache_claim_release(&claim);
  assert_false(get_or_claim(f->cache, "cold", &claim));
  assert_true(claim.lock >= 0);
  cache_claim_release(&claim);
  kill_holder(child);
}

/* ---- no lock to be had ---- */

static void expect_no_lock(struct fixture *f) {
  struct cache_claim claim;
  open_with_wait(f, 20000);
  const double start = seconds();
  assert_false(get_or_claim(f->cache, "cold", &claim));
  assert_int_equal(claim.lock, -1);
  assert_true(seconds() - start < 10);
  put(f->cache, "cold", "code");
  cache_claim_release(&claim);
  assert_true(get_or_claim(f->cache, "cold", &claim));
}

static void lock_path(const struct fixture *f, char ret[4300]) {
  snprintf(ret, 4300, "%s/v1/lock", f->dir);
}

static void test_something_in_the_way(void **state) {
  struct fixture *f = *state;
  char path[4300];
  put(f->cache, "another", "entry"); /* makes v1 */
  lock_path(f, path);
  assert_int_equal(symlink("/etc/passwd", path), 0);
  expect_no_lock(f);
  assert_int_equal(f->warnings, 0);
}

static void test_directory_in_the_way(void **state) {
  struct fixture *f = *state;
  char path[4300];
  put(f->cache, "another", "entry");
  lock_path(f, path);
  assert_int_equal(mkdir(path, 0700), 0);
  expect_no_lock(f);
}

static void test_fifo_in_the_way(void **state) {
  struct fixture *f = *state;
  struct cache_claim claim;
  char path[4300];
  put(f->cache, "another", "entry");
  lock_path(f, path);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_false(get_or_claim(f->cache, "cold", &claim)); /* must not hang */
  cache_claim_release(&claim);
}

static void test_memory_only(void **state) {
  struct fixture *f = *state;
  setenv("MASKC_CACHE_DISABLE", "1", 1);
  expect_no_lock(f);
  unsetenv("MASKC_CACHE_DISABLE");
  assert_int_equal(count_files(f->root), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_processes),
      T(test_threads),
      T(test_lock_dies_with_its_holder),
      T(test_wait_ends),
      T(test_other_keys_do_not_wait),
      T(test_claim_without_put),
      T(test_fork_under_a_claim),
      T(test_something_in_the_way),
      T(test_directory_in_the_way),
      T(test_fifo_in_the_way),
      T(test_memory_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
