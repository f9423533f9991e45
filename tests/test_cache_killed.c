/* SPDX-License-Identifier: MIT
 * A process that dies in the middle of a publish, at each step of it and 200 times at any moment:
 * what was there before stays, nothing half-written is ever read, and the next one can publish.
 *
 * This program's own fsync and renameat stand before the C library's; armed, they are where it
 * dies.
 */
#include "cache_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

int fsync(int fd);
int renameat(int from_dir, const char *from, int to_dir, const char *to);

enum step { NOWHERE, WRITING, WRITTEN, SYNCED, RENAMED };
static enum step dies_at;

static void die_at(enum step step) {
  if (dies_at == step) kill(getpid(), SIGKILL);
}

int fsync(int fd) {
  die_at(WRITTEN);
  const int result = (int)syscall(SYS_fsync, fd);
  die_at(SYNCED);
  return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
  const int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
  die_at(RENAMED);
  return result;
}

/* In a child, which that kills. The limit's signal comes in the middle of a write. */
static void publish_and_die(struct fixture *f, enum step step) {
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    const struct rlimit limit = {50, 50};
    struct cache_claim claim;
    const struct cache_key key = key_of("one");
    void *data;
    size_t len;
    open_cache(f, f->dir);
    CHECK(!cache_get_or_claim(f->cache, &key, &data, &len, &claim) && claim.lock >= 0);
    if (step == WRITING) CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    dies_at = step;
    put(f->cache, "one", "first");
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), step == WRITING ? SIGXFSZ : SIGKILL);
}

static int temporaries(const struct fixture *f) {
  char tmp[4300];
  snprintf(tmp, sizeof tmp, "%s/v1/tmp", f->dir);
  return count_files(tmp);
}

static void expect_recovery(struct fixture *f, bool published, int left) {
  struct cache_claim claim;
  const struct cache_key key = key_of("one");
  void *data;
  size_t len;
  reopen(f);
  assert_true(has(f->cache, "before", "stays"));
  assert_int_equal(temporaries(f), left);
  assert_int_equal(cache_get_or_claim(f->cache, &key, &data, &len, &claim), published);
  if (published) free(data);
  if (!published) assert_true(claim.lock >= 0); /* the dead one's lock is gone */
  put(f->cache, "one", "first");
  cache_claim_release(&claim);
  reopen(f);
  assert_true(has(f->cache, "one", "first"));
  assert_int_equal(f->warnings, 0);
}

static void test_before_the_rename(void **state) {
  struct fixture *f = *state;
  const enum step steps[] = {WRITING, WRITTEN, SYNCED};
  for (int i = 0; i < 3; i++) {
    char path[4400];
    put(f->cache, "before", "stays");
    publish_and_die(f, steps[i]);
    expect_recovery(f, false, i + 1);
    entry_path(f, "one", path);
    assert_int_equal(unlink(path), 0);
  }
  /* what they left goes with the next prune, once it is old */
  char command[4500];
  struct cache_usage removed, left;
  struct error err = {0};
  snprintf(command, sizeof command, "touch -d '2 hours ago' '%s'/v1/tmp/*", f->dir);
  assert_int_equal(system(command), 0);
  assert_int_equal(cache_prune(f->cache, UINT64_MAX, &removed, &left, &err), MKC_OK);
  assert_int_equal(temporaries(f), 0);
  assert_true(has(f->cache, "before", "stays"));
}

static void test_after_the_rename(void **state) {
  struct fixture *f = *state;
  put(f->cache, "before", "stays");
  publish_and_die(f, RENAMED);
  expect_recovery(f, true, 0);
}

/* ---- at any moment ---- */

enum { KILLS = 200, KEYS = 16, MAX_BYTES = 24 << 10 };

/* Entry n: its length and every byte follow from n. */
static size_t content(int n, unsigned char ret[MAX_BYTES]) {
  const size_t len = MAX_BYTES / 2 + (size_t)n * 700;
  uint32_t x = 2463534242u + (uint32_t)n;
  for (size_t i = 0; i < len; i++) {
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    ret[i] = (unsigned char)x;
  }
  return len;
}

static struct cache_key key_number(int n) {
  char name[16];
  snprintf(name, sizeof name, "%d", n);
  return key_of(name);
}

static void publish(struct fixture *f, int n) {
  static unsigned char bytes[MAX_BYTES];
  const struct cache_key key = key_number(n);
  cache_put(f->cache, &key, bytes, content(n, bytes), "a test\n");
}

static void publish_for_ever(struct fixture *f, int first) {
  open_cache(f, f->dir);
  for (int n = first;; n++) publish(f, n % KEYS);
}

/* A miss, or what was put. */
static bool read_number(struct fixture *f, int n) {
  static unsigned char expected[MAX_BYTES];
  const struct cache_key key = key_number(n);
  void *data;
  size_t len;
  if (!cache_get(f->cache, &key, &data, &len)) return false;
  assert_int_equal(len, content(n, expected));
  assert_memory_equal(data, expected, len);
  free(data);
  return true;
}

static long elapsed_us(const struct timespec *since) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (now.tv_sec - since->tv_sec) * 1000000 + (now.tv_nsec - since->tv_nsec) / 1000;
}

/* This process reads while the child writes, until it kills it. */
static void write_read_kill(struct fixture *f, int round, long after_us) {
  struct timespec start;
  int status;
  clock_gettime(CLOCK_MONOTONIC, &start);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) publish_for_ever(f, round);
  for (int n = 0; elapsed_us(&start) < after_us; n = (n + 1) % KEYS) read_number(f, n);
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A file under an entry's name is a good one, whenever its writer died. */
static void test_200_kills(void **state) {
  struct fixture *f = *state;
  char path[4400], name[16];
  int published = 0;
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int n = 0; n < KEYS; n++) publish(f, n);
  const long publish_us = elapsed_us(&start) / KEYS;
  char command[4500];
  snprintf(command, sizeof command, "rm -rf '%s'/v1", f->dir);
  assert_int_equal(system(command), 0);
  for (int round = 0; round < KILLS; round++) {
    write_read_kill(f, round, 500 + publish_us * (round * 37 % 100) / 25);
    reopen(f);
    published = 0;
    for (int n = 0; n < KEYS; n++) {
      snprintf(name, sizeof name, "%d", n);
      entry_path(f, name, path);
      const bool there = access(path, F_OK) == 0;
      assert_int_equal(read_number(f, n), there);
      published += there;
    }
  }
  print_message("%d kills: %d of %d entries there, %d half-written files left behind\n", KILLS,
                published, KEYS, temporaries(f));
  assert_true(published > 0);
  assert_true(temporaries(f) > 0); /* they did die in the middle of it */
  assert_int_equal(f->warnings, 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {T(test_before_the_rename), T(test_after_the_rename),
                                     T(test_200_kills)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
