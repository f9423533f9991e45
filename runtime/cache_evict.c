/* SPDX-License-Identifier: MIT
 * cache_evict.c - see cache_evict.h. Lists all entries, oldest use first, and removes from the
 * front. An entry's last use is its file's modification time, which a hit moves to now; between the
 * listing and the removal another process may use it, and then misses once.
 */
#define _GNU_SOURCE
#include "cache_evict.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_dir.h"

struct listed {
  struct cache_place place;
  uint64_t bytes;
  struct timespec used;
};

struct listing {
  struct listed *entries;
  size_t n, cap;
  int error; /* errno of an allocation that failed */
};

struct cache_place cache_place_of(const struct cache_key *key) {
  struct cache_place p;
  char hex[2 * SHA256_BYTES + 1];
  sha256_hex(key->bytes, hex);
  memcpy(p.dir, hex, 2);
  p.dir[2] = 0;
  memcpy(p.name, hex + 2, sizeof p.name);
  return p;
}

/* ---- listing ---- */

static bool is_hex(const char *name, size_t digits) {
  return strlen(name) == digits && strspn(name, "0123456789abcdef") == digits;
}

static void add(struct listing *l, const char *dir, const char *name, const struct stat *st) {
  if (l->n == l->cap) {
    const size_t cap = l->cap ? 2 * l->cap : 64;
    struct listed *entries = realloc(l->entries, cap * sizeof *entries);
    if (!entries) {
      l->error = ENOMEM;
      return;
    }
    l->entries = entries;
    l->cap = cap;
  }
  struct listed *e = &l->entries[l->n++];
  memcpy(e->place.dir, dir, sizeof e->place.dir);
  memcpy(e->place.name, name, sizeof e->place.name);
  e->bytes = (uint64_t)st->st_size;
  e->used = st->st_mtim;
}

/* A stream of its own, so that the descriptor keeps its place. */
static DIR *open_stream(int fd) {
  const int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *stream = again < 0 ? NULL : fdopendir(again);
  if (!stream && again >= 0) close(again);
  return stream;
}

static void list_directory(struct listing *l, int v1, const char *dir) {
  const int fd = cache_subdir_open(v1, dir, false);
  DIR *stream = fd < 0 ? NULL : open_stream(fd);
  for (struct dirent *e; stream && (e = readdir(stream));) {
    struct stat st;
    if (is_hex(e->d_name, CACHE_NAME_CHARS - 1) &&
        fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        st.st_uid == geteuid())
      add(l, dir, e->d_name, &st);
  }
  if (stream) closedir(stream);
  if (fd >= 0) close(fd);
}

static int by_use(const void *a, const void *b) {
  const struct listed *x = a, *y = b;
  if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
  if (x->used.tv_nsec != y->used.tv_nsec) return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
  return memcmp(&x->place, &y->place, sizeof x->place);
}

static void list_all(struct listing *l, int v1) {
  DIR *stream = open_stream(v1);
  for (struct dirent *e; stream && (e = readdir(stream));)
    if (is_hex(e->d_name, CACHE_DIR_CHARS - 1)) list_directory(l, v1, e->d_name);
  if (stream) closedir(stream);
  if (l->n > 0) qsort(l->entries, l->n, sizeof *l->entries, by_use);
}

/* ---- removing ---- */

static int remove_entry(int v1, const struct listed *e) {
  const int dir = cache_subdir_open(v1, e->place.dir, false);
  if (dir < 0) return errno == ENOENT ? 0 : errno;
  const int error = unlinkat(dir, e->place.name, 0) != 0 && errno != ENOENT ? errno : 0;
  close(dir);
  return error;
}

/* Entries come oldest first. */
static void count(struct cache_usage *u, const struct listed *e) {
  if (u->entries == 0) u->oldest = e->used.tv_sec;
  u->newest = e->used.tv_sec;
  u->entries++;
  u->bytes += e->bytes;
}

int cache_evict(int v1, const struct eviction *request, struct cache_usage *ret_removed,
                struct cache_usage *ret_left) {
  struct listing l = {0};
  uint64_t bytes = 0;
  *ret_removed = *ret_left = (struct cache_usage){0};
  list_all(&l, v1);
  for (size_t i = 0; i < l.n; i++) bytes += l.entries[i].bytes;
  const bool over = bytes > request->limit;
  int error = l.error;
  for (size_t i = 0; i < l.n; i++) {
    const struct listed *e = &l.entries[i];
    const bool kept = request->keep && memcmp(&e->place, request->keep, sizeof e->place) == 0;
    const bool goes = over && !kept && bytes > request->target;
    const int failed = goes ? remove_entry(v1, e) : 0;
    if (failed && !error) error = failed;
    if (goes && !failed) bytes -= e->bytes;
    count(goes && !failed ? ret_removed : ret_left, e);
  }
  free(l.entries);
  return error;
}

/* ---- sizes ---- */

bool cache_size_parse(const char *text, uint64_t *ret) {
  static const char units[] = "KMG";
  uint64_t n = 0;
  const char *p = text;
  for (; *p >= '0' && *p <= '9'; p++) {
    if (n > UINT64_MAX / 10 - 1) return false;
    n = 10 * n + (uint64_t)(*p - '0');
  }
  if (p == text) return false;
  const char *unit = *p ? strchr(units, *p) : NULL;
  for (long i = unit ? unit - units : -1; i >= 0; i--) {
    if (n > UINT64_MAX / 1024) return false;
    n *= 1024;
  }
  *ret = n;
  return unit ? !p[1] : !*p;
}
