/* SPDX-License-Identifier: MIT
 * cache.c - get and put: the disk where it can be used, memory where it cannot.
 *
 * Writers need no lock: each writes a file of its own under v1/tmp and renames it, and whoever
 * renames last has written the same bytes. The lock of a claim only saves compiles. A writer goes
 * on with the bytes it has in hand; it never reads back what it published. A hit marks its entry as
 * used, and whoever puts more than the limit allows removes what was used least recently.
 */
#define _GNU_SOURCE /* secure_getenv */
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache_dir.h"
#include "cache_entry.h"
#include "cache_evict.h"
#include "cache_lock.h"

enum { MEMORY_LIMIT = 256 << 20, TMP_LIFE_SECONDS = 3600, NAME_TRIES = 100 };
enum { DEFAULT_MAX_BYTES = 1 << 30, DEFAULT_WAIT_MS = 60000 };

/* What could not be put on disk. */
struct kept {
  struct kept *next; /* older */
  struct cache_key key;
  size_t len;
  unsigned char data[];
};

struct cache {
  pthread_mutex_t mutex; /* guards all that follows but the log */
  bool opened, warned, swept;
  bool no_disk;
  int wait_ms;
  char *named;    /* the options' directory, or NULL */
  char dir[4096]; /* "" if there is none */
  char why[512];  /* the directory's state, for people */
  int v1_fd;      /* -1: no disk */
  struct kept *kept;
  size_t kept_bytes;
  unsigned temporaries; /* made so far, to name the next */
  uint64_t max_bytes;   /* on disk */
  bool counted;         /* disk_bytes is known */
  uint64_t disk_bytes;  /* when last counted, and what was put since */
  cache_log_fn *log;
  void *log_user;
  const struct allocator *allocator;
};

static void read_limit(struct cache *c) {
  const char *text = secure_getenv("MASKC_CACHE_MAX_SIZE");
  c->max_bytes = DEFAULT_MAX_BYTES;
  if (!text || !*text) return;
  if (!cache_size_parse(text, &c->max_bytes)) {
    c->max_bytes = DEFAULT_MAX_BYTES;
    if (!c->log) return;
    char line[256];
    snprintf(line, sizeof line,
             "cache: MASKC_CACHE_MAX_SIZE is \"%.80s\", which is no size (500M, 2G; 0: no limit); "
             "1G counts",
             text);
    c->log(c->log_user, 0, line);
  }
  if (c->max_bytes == 0) c->max_bytes = UINT64_MAX;
}

struct cache *cache_create(const struct cache_options *options) {
  struct cache *c = alloc_zeroed(options->allocator, sizeof *c);
  if (!c) return NULL;
  if (options->dir) {
    c->named = alloc_strdup(options->allocator, options->dir);
    if (!c->named) {
      alloc_free(options->allocator, c);
      return NULL;
    }
  }
  pthread_mutex_init(&c->mutex, NULL);
  c->no_disk = options->no_disk;
  c->wait_ms = options->wait_ms ? options->wait_ms : DEFAULT_WAIT_MS;
  c->v1_fd = -1;
  c->log = options->log;
  c->log_user = options->log_user;
  c->allocator = options->allocator;
  read_limit(c);
  return c;
}

void cache_destroy(struct cache *c) {
  if (!c) return;
  if (c->v1_fd >= 0) close(c->v1_fd);
  while (c->kept) {
    struct kept *next = c->kept->next;
    alloc_free(c->allocator, c->kept);
    c->kept = next;
  }
  pthread_mutex_destroy(&c->mutex);
  alloc_free(c->allocator, c->named);
  alloc_free(c->allocator, c);
}

/* ---- the directory ---- */

/* Once a cache: it is one cause, and a warning for each entry would bury it. */
static void warn_once(struct cache *c, const char *what) {
  pthread_mutex_lock(&c->mutex);
  const bool first = !c->warned;
  c->warned = true;
  pthread_mutex_unlock(&c->mutex);
  if (!first || !c->log) return;
  char line[1024];
  snprintf(line, sizeof line, "cache: %s; compiled code is kept in memory only", what);
  c->log(c->log_user, 0, line);
}

/* Returns whether to warn about c->why. */
static bool open_dir_locked(struct cache *c) {
  const char *disabled = secure_getenv("MASKC_CACHE_DISABLE");
  if (c->no_disk || (disabled && *disabled && strcmp(disabled, "0") != 0)) {
    snprintf(c->why, sizeof c->why, "disabled");
    return false;
  }
  if (!cache_dir_path(c->named, c->dir, sizeof c->dir)) {
    c->dir[0] = 0;
    snprintf(c->why, sizeof c->why,
             "no directory: neither MASKC_CACHE_DIR nor XDG_CACHE_HOME nor "
             "HOME names one");
    return true;
  }
  const int fd = cache_dir_open(c->dir, c->why, sizeof c->why);
  if (fd < 0) return true;
  c->v1_fd = cache_subdir_open(fd, "v1", true);
  if (c->v1_fd < 0) snprintf(c->why, sizeof c->why, "%.400s/v1: %s", c->dir, strerror(errno));
  close(fd);
  return c->v1_fd < 0;
}

static int v1_of(struct cache *c) {
  pthread_mutex_lock(&c->mutex);
  bool warn = false;
  if (!c->opened) warn = open_dir_locked(c);
  c->opened = true;
  pthread_mutex_unlock(&c->mutex);
  if (warn) warn_once(c, c->why);
  return c->v1_fd;
}

const char *cache_dir(struct cache *c) {
  v1_of(c);
  return c->dir;
}

bool cache_usable(struct cache *c, const char **ret_why) {
  const int v1 = v1_of(c);
  *ret_why = c->why;
  if (v1 < 0) return false;
  if (faccessat(v1, ".", W_OK | X_OK, AT_EACCESS) == 0) {
    *ret_why = "trusted: it belongs to this user, and nobody else may write to it";
    return true;
  }
  *ret_why = "trusted, but not writable: what it holds is used, and nothing is added";
  return false;
}

/* ---- memory ---- */

static bool memory_get(struct cache *c, const struct cache_key *key, void **ret, size_t *ret_len) {
  bool found = false;
  pthread_mutex_lock(&c->mutex);
  for (struct kept *k = c->kept; k && !found; k = k->next) {
    if (memcmp(&k->key, key, sizeof *key) != 0) continue;
    *ret = malloc(k->len ? k->len : 1);
    if (!*ret) break;
    memcpy(*ret, k->data, k->len);
    *ret_len = k->len;
    found = true;
  }
  pthread_mutex_unlock(&c->mutex);
  return found;
}

/* Drops the oldest beyond the limit; the newest always stays. */
static void memory_trim_locked(struct cache *c) {
  while (c->kept_bytes > MEMORY_LIMIT && c->kept && c->kept->next) {
    struct kept **last = &c->kept->next;
    while ((*last)->next) last = &(*last)->next;
    c->kept_bytes -= (*last)->len;
    alloc_free(c->allocator, *last);
    *last = NULL;
  }
}

static void memory_put(struct cache *c, const struct cache_key *key, const void *data, size_t len) {
  struct kept *k = alloc_resize(c->allocator, NULL, sizeof *k + len);
  if (!k) return;
  k->key = *key;
  k->len = len;
  memcpy(k->data, data, len);
  pthread_mutex_lock(&c->mutex);
  k->next = c->kept;
  c->kept = k;
  c->kept_bytes += len;
  memory_trim_locked(c);
  pthread_mutex_unlock(&c->mutex);
}

/* ---- disk ---- */

/* Removes a bad entry, unless a good one has just been renamed over it. */
static void remove_bad(int dir, const char *name, int fd) {
  struct stat read, now;
  if (fd >= 0) {
    if (fstat(fd, &read) != 0 || fstatat(dir, name, &now, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (read.st_dev != now.st_dev || read.st_ino != now.st_ino) return;
  }
  unlinkat(dir, name, 0);
}

static bool disk_get(int v1, const struct cache_key *key, void **ret, size_t *ret_len) {
  const struct cache_place place = cache_place_of(key);
  const int dir = cache_subdir_open(v1, place.dir, false);
  if (dir < 0) return false;
  /* O_NONBLOCK: a FIFO put there must not hang us. */
  const int fd = openat(dir, place.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  enum entry_verdict verdict = ENTRY_UNREADABLE;
  if (fd >= 0) verdict = cache_entry_read(fd, key, ret, ret_len);
  const bool is_link = fd < 0 && errno == ELOOP;
  if (verdict == ENTRY_GOOD) futimens(fd, NULL); /* used now; where that fails it only ages */
  if (verdict == ENTRY_BAD || is_link) remove_bad(dir, place.name, fd);
  if (fd >= 0) close(fd);
  close(dir);
  return verdict == ENTRY_GOOD;
}

bool cache_get(struct cache *c, const struct cache_key *key, void **ret, size_t *ret_len) {
  *ret = NULL;
  *ret_len = 0;
  const int v1 = v1_of(c);
  return memory_get(c, key, ret, ret_len) || (v1 >= 0 && disk_get(v1, key, ret, ret_len));
}

static void say_waited(struct cache *c) {
  if (!c->log) return;
  char line[256];
  snprintf(line, sizeof line,
           "cache: another process has held %.100s/v1/lock for %d ms to compile the same code; it "
           "is compiled here too",
           c->dir, c->wait_ms);
  c->log(c->log_user, 0, line);
}

bool cache_get_or_claim(struct cache *c, const struct cache_key *key, void **ret, size_t *ret_len,
                        struct cache_claim *ret_claim) {
  ret_claim->lock = -1;
  if (cache_get(c, key, ret, ret_len)) return true;
  const int v1 = v1_of(c);
  if (v1 < 0) return false;
  ret_claim->lock = cache_lock_take(v1, key, c->wait_ms);
  if (ret_claim->lock < 0 && errno == ETIMEDOUT) say_waited(c);
  /* What came while the lock was waited for. */
  if (!cache_get(c, key, ret, ret_len)) return false;
  cache_claim_release(ret_claim);
  return true;
}

void cache_claim_release(struct cache_claim *claim) {
  cache_lock_drop(claim->lock);
  claim->lock = -1;
}

/* Temporaries of writers that died. */
static void sweep(int tmp) {
  const int fd = openat(tmp, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir) {
    if (fd >= 0) close(fd);
    return;
  }
  const time_t now = time(NULL);
  for (struct dirent *e; (e = readdir(dir));) {
    struct stat st;
    if (fstatat(tmp, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        st.st_mtime < now - TMP_LIFE_SECONDS)
      unlinkat(tmp, e->d_name, 0);
  }
  closedir(dir);
}

/* A new file under tmp; -1 and errno. O_EXCL decides, the name only makes clashes rare. */
static int new_temporary(struct cache *c, int tmp, char *ret_name, size_t size) {
  int fd = -1;
  for (int i = 0; i < NAME_TRIES && fd < 0; i++) {
    pthread_mutex_lock(&c->mutex);
    const unsigned number = c->temporaries++;
    pthread_mutex_unlock(&c->mutex);
    struct timespec t = {0};
    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(ret_name, size, "%ld-%u-%ld", (long)getpid(), number, t.tv_nsec);
    fd = openat(tmp, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST) break;
  }
  return fd;
}

struct entry {
  const struct cache_key *key;
  const void *data;
  size_t len;
  const char *meta;
};

/* Written, on the disk, and closed without an error (a full quota may show only then). 0 or errno.
 */
static int write_and_close(int fd, const struct entry *e) {
  int error = cache_entry_write(fd, e->key, e->data, e->len, e->meta);
  if (!error && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && !error) error = errno;
  return error;
}

static int publish(struct cache *c, int v1, int tmp, const struct entry *e) {
  char name[64];
  const int fd = new_temporary(c, tmp, name, sizeof name);
  if (fd < 0) return errno;
  int error = write_and_close(fd, e);
  const struct cache_place place = cache_place_of(e->key);
  const int dir = error ? -1 : cache_subdir_open(v1, place.dir, true);
  if (!error && (dir < 0 || renameat(tmp, name, dir, place.name) != 0)) error = errno;
  if (error) unlinkat(tmp, name, 0);
  if (dir >= 0) close(dir);
  return error;
}

static int disk_put(struct cache *c, int v1, const struct entry *e) {
  const int tmp = cache_subdir_open(v1, "tmp", true);
  if (tmp < 0) return errno;
  pthread_mutex_lock(&c->mutex);
  const bool first = !c->swept;
  c->swept = true;
  pthread_mutex_unlock(&c->mutex);
  if (first) sweep(tmp);
  const int error = publish(c, v1, tmp, e);
  close(tmp);
  return error;
}

/* Counts what is on disk once, and again when the limit seems reached: other processes put and
 * remove too. Frees a tenth more than it must, so that the next put need not. */
static void keep_within_limit(struct cache *c, int v1, const struct entry *e) {
  pthread_mutex_lock(&c->mutex);
  c->disk_bytes += cache_entry_bytes(e->len, e->meta);
  const bool look = !c->counted || c->disk_bytes > c->max_bytes;
  pthread_mutex_unlock(&c->mutex);
  if (!look) return;
  const struct cache_place place = cache_place_of(e->key);
  const struct eviction request = {c->max_bytes, c->max_bytes - c->max_bytes / 10, &place};
  struct cache_usage removed, left;
  cache_evict(v1, &request, &removed, &left);
  pthread_mutex_lock(&c->mutex);
  c->counted = true;
  c->disk_bytes = left.bytes;
  pthread_mutex_unlock(&c->mutex);
}

void cache_put(struct cache *c, const struct cache_key *key, const void *data, size_t len,
               const char *meta) {
  const struct entry e = {key, data, len, meta};
  const int v1 = v1_of(c);
  const int error = v1 < 0 ? EACCES : disk_put(c, v1, &e);
  if (!error) {
    keep_within_limit(c, v1, &e);
    return;
  }
  memory_put(c, key, data, len);
  if (v1 < 0) return; /* warned already, or told not to use the disk */
  char what[600];
  snprintf(what, sizeof what, "%.400s: %s", c->dir, strerror(error));
  warn_once(c, what);
}

/* ---- for people ---- */

bool cache_stat(struct cache *c, struct cache_usage *ret) {
  const struct eviction nothing = {UINT64_MAX, UINT64_MAX, NULL};
  struct cache_usage removed;
  const int v1 = v1_of(c);
  *ret = (struct cache_usage){0};
  return v1 >= 0 && cache_evict(v1, &nothing, &removed, ret) == 0;
}

mkc_status cache_prune(struct cache *c, uint64_t max_bytes, struct cache_usage *ret_removed,
                       struct cache_usage *ret_left, struct error *err) {
  const struct eviction request = {max_bytes, max_bytes, NULL};
  const int v1 = v1_of(c);
  *ret_removed = *ret_left = (struct cache_usage){0};
  if (v1 < 0) return error_set(err, MKC_E_SYSTEM, "the cache cannot be used: %s", c->why);
  const int tmp = cache_subdir_open(v1, "tmp", false);
  if (tmp >= 0) {
    sweep(tmp);
    close(tmp);
  }
  const int error = cache_evict(v1, &request, ret_removed, ret_left);
  if (!error) return MKC_OK;
  return error_set(err, MKC_E_SYSTEM, "%s: not all could be removed: %s", c->dir, strerror(error));
}

uint64_t cache_max_bytes(const struct cache *c) {
  return c->max_bytes;
}
