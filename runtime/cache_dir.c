/* SPDX-License-Identifier: MIT
 * cache_dir.c - finds, makes and checks the cache's directory, see cache_dir.h.
 *
 * Directories are opened once and then used by descriptor, so that what was checked is what is
 * used.
 */
#define _GNU_SOURCE /* secure_getenv */
#include "cache_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static bool fits(int n, size_t size) {
  return n > 0 && (size_t)n < size;
}

/* The base directory specification: a relative path in these variables is to be ignored. */
static const char *absolute_from(const char *variable) {
  const char *value = secure_getenv(variable);
  return value && value[0] == '/' ? value : NULL;
}

bool cache_dir_path(const char *named, char *ret, size_t size) {
  if (!named || !*named) named = secure_getenv("MASKC_CACHE_DIR");
  if (named && *named) return fits(snprintf(ret, size, "%s", named), size);
  const char *base = absolute_from("XDG_CACHE_HOME");
  if (base) return fits(snprintf(ret, size, "%s/maskc", base), size);
  base = absolute_from("HOME");
  return base && fits(snprintf(ret, size, "%s/.cache/maskc", base), size);
}

/* mkdir -p. Errors show when the directory is opened. */
static void make_parents(const char *path) {
  char prefix[4096];
  if (!fits(snprintf(prefix, sizeof prefix, "%s", path), sizeof prefix)) return;
  for (char *p = prefix + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(prefix, 0700);
    *p = '/';
  }
}

/* What is wrong with a directory that is to hold code, or NULL. */
static const char *distrust(int fd, char *text, size_t size) {
  struct stat st;
  if (fstat(fd, &st) != 0) return strerror(errno);
  if (st.st_uid != geteuid()) {
    snprintf(text, size, "it belongs to user %ld, not to this one (%ld)", (long)st.st_uid,
             (long)geteuid());
    return text;
  }
  if (st.st_mode & (S_IWGRP | S_IWOTH)) {
    snprintf(text, size,
             "others may write to it (mode %04o), and so make this user run their code: chmod go-w "
             "it, or name another in MASKC_CACHE_DIR",
             (unsigned)(st.st_mode & 07777));
    return text;
  }
  return NULL;
}

int cache_dir_open(const char *path, char *why, size_t size) {
  int fd = open(path, DIR_FLAGS);
  if (fd < 0 && errno == ENOENT) {
    make_parents(path);
    if (mkdir(path, 0700) == 0 || errno == EEXIST) fd = open(path, DIR_FLAGS);
  }
  if (fd < 0) {
    const int error = errno;
    struct stat st;
    const bool link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
    snprintf(why, size, "%s: %s", path,
             link ? "it is a symbolic link: name the directory itself in MASKC_CACHE_DIR"
                  : strerror(error));
    return -1;
  }
  char text[256];
  const char *wrong = distrust(fd, text, sizeof text);
  if (!wrong) return fd;
  snprintf(why, size, "%s: %s", path, wrong);
  close(fd);
  return -1;
}

int cache_subdir_open(int parent, const char *name, bool make) {
  int fd = openat(parent, name, DIR_FLAGS);
  if (fd < 0 && errno == ENOENT && make && (mkdirat(parent, name, 0700) == 0 || errno == EEXIST))
    fd = openat(parent, name, DIR_FLAGS);
  char text[256];
  if (fd < 0 || !distrust(fd, text, sizeof text)) return fd;
  close(fd);
  errno = EACCES;
  return -1;
}
