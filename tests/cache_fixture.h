/* SPDX-License-Identifier: MIT
 * cache_fixture.h - a cache in a folder of its own, for the tests of the cache.
 */
#ifndef MKC_TESTS_CACHE_FIXTURE_H
#define MKC_TESTS_CACHE_FIXTURE_H

#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache.h"

struct fixture {
  char *root; /* a fresh folder */
  char dir[4200];
  struct cache *cache;
  int warnings;
  char warning[1024]; /* the last */
};

static inline void on_log(void *user, int level, const char *line) {
  struct fixture *f = user;
  assert_int_equal(level, 0);
  f->warnings++;
  snprintf(f->warning, sizeof f->warning, "%s", line);
}

static inline void open_cache(struct fixture *f, const char *dir) {
  const struct cache_options options = {.dir = dir, .log = on_log, .log_user = f};
  f->cache = cache_create(&options);
  assert_non_null(f->cache);
}

static inline void reopen(struct fixture *f) {
  cache_destroy(f->cache);
  open_cache(f, f->dir);
}

static inline int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  unsetenv("MASKC_CACHE_DIR");
  unsetenv("MASKC_CACHE_DISABLE");
  unsetenv("MASKC_CACHE_MAX_SIZE");
  f->root = temp_dir();
  snprintf(f->dir, sizeof f->dir, "%s/deep/er/cache", f->root);
  open_cache(f, f->dir);
  *state = f;
  return 0;
}

static inline int teardown(void **state) {
  struct fixture *f = *state;
  cache_destroy(f->cache);
  remove_dir(f->root);
  free(f->root);
  free(f);
  return 0;
}

static inline struct cache_key key_of(const char *text) {
  struct cache_keygen g;
  struct cache_key key;
  cache_key_begin(&g, "test");
  cache_key_string(&g, "text", text);
  cache_key_end(&g, &key);
  return key;
}

static inline void put(struct cache *c, const char *name, const char *text) {
  const struct cache_key key = key_of(name);
  cache_put(c, &key, text, strlen(text), "a test\n");
}

static inline bool has(struct cache *c, const char *name, const char *text) {
  const struct cache_key key = key_of(name);
  void *data;
  size_t len;
  if (!cache_get(c, &key, &data, &len)) {
    assert_null(data);
    return false;
  }
  assert_int_equal(len, strlen(text));
  assert_memory_equal(data, text, len);
  free(data);
  return true;
}

static inline void entry_path(const struct fixture *f, const char *name, char ret[4400]) {
  const struct cache_key key = key_of(name);
  char hex[2 * SHA256_BYTES + 1];
  sha256_hex(key.bytes, hex);
  snprintf(ret, 4400, "%s/v1/%.2s/%s", f->dir, hex, hex + 2);
}

static inline int count_files(const char *dir) {
  char command[4500];
  snprintf(command, sizeof command, "find '%s' -type f 2>/dev/null | wc -l", dir);
  FILE *p = popen(command, "r");
  int n = -1;
  assert_int_equal(fscanf(p, "%d", &n), 1);
  pclose(p);
  return n;
}

/* For processes of their own: cmocka's asserts do not reach their parent. */
#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      _exit(1);                                                       \
    }                                                                 \
  } while (0)

/* `n` processes at once, each with the fixture; all must end well. */
static inline void run_writers(struct fixture *f, int n, void (*body)(struct fixture *)) {
  pid_t pids[16];
  assert_true(n <= 16);
  for (int i = 0; i < n; i++) {
    pids[i] = fork();
    assert_true(pids[i] >= 0);
    if (pids[i] == 0) {
      body(f);
      _exit(0);
    }
  }
  for (int i = 0; i < n; i++) {
    int status;
    assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
    assert_int_equal(status, 0);
  }
}

#endif
