/* SPDX-License-Identifier: MIT
 * A process that dies in the middle of a publish, at each step of it: what was there before stays,
 * nothing half-written is ever read, and the next one can publish.
 *
 * This program's own fsync and renameat stand before the C library's; armed, they are where it
 * dies.
 */
#include "cache_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

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

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {T(test_before_the_rename), T(test_after_the_rename)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
