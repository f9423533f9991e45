/* SPDX-License-Identifier: MIT
 * process.c - see process.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- programs ---- */

/* Where PATH is not set. */
#define USUAL_PATH "/usr/local/bin:/usr/bin:/bin"

static bool names(const char *entry, const char *name) {
  const size_t n = strcspn(name, "=");
  return !strncmp(entry, name, n) && entry[n] == '=';
}

static bool listed(const char *entry, const char *const *list) {
  for (; *list; list++)
    if (names(entry, *list)) return true;
  return false;
}

/* environ with the changes, and a PATH in any case: a compiler looks there for its parts. The
 * caller frees the list, not its strings. */
static char **environment(const char *const *changes) {
  static const char *const none[] = {NULL};
  if (!changes) changes = none;
  size_t n = 2, k = 0;
  for (char **e = environ; *e; e++) n++;
  for (const char *const *c = changes; *c; c++) n++;
  char **list = malloc(n * sizeof *list);
  if (!list) return NULL;
  for (char **e = environ; *e; e++)
    if (!listed(*e, changes)) list[k++] = *e;
  for (const char *const *c = changes; *c; c++)
    if (strchr(*c, '=')) list[k++] = (char *)*c;
  if (!getenv("PATH")) list[k++] = (char *)"PATH=" USUAL_PATH;
  list[k] = NULL;
  return list;
}

static int spawn(const char *const *argv, char **env, const char *output, pid_t *ret) {
  posix_spawn_file_actions_t actions;
  int e = posix_spawn_file_actions_init(&actions);
  if (e) return e;
  if (output) {
    e = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!e)
      e = posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!e) e = posix_spawn_file_actions_adddup2(&actions, 1, 2);
  }
  if (!e) e = posix_spawn(ret, argv[0], &actions, NULL, (char *const *)argv, env);
  posix_spawn_file_actions_destroy(&actions);
  return e;
}

mkc_status process_run(const char *const *argv, const char *const *env, const char *output,
                       int *ret_exit, struct error *err) {
  char **list = environment(env);
  if (!list) return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory to start %s", argv[0]);
  pid_t pid;
  const int e = spawn(argv, list, output, &pid);
  free(list);
  if (e) return error_set(err, MKC_E_SYSTEM, "cannot start %s: %s", argv[0], strerror(e));
  int status;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno == EINTR) continue;
    *ret_exit = -1; /* the host application ignores SIGCHLD */
    return MKC_OK;
  }
  *ret_exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return MKC_OK;
}

static bool runnable(const char *path) {
  struct stat st;
  return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

bool program_find(const char *name, char ret[PROCESS_PATH_MAX]) {
  if (strchr(name, '/')) {
    snprintf(ret, PROCESS_PATH_MAX, "%s", name);
    return strlen(name) < PROCESS_PATH_MAX && runnable(ret);
  }
  const char *path = secure_getenv("PATH");
  for (const char *dir = path ? path : USUAL_PATH; *dir;) {
    const size_t n = strcspn(dir, ":");
    const int len = snprintf(ret, PROCESS_PATH_MAX, "%.*s/%s", (int)n, dir, name);
    /* An empty or relative entry means the current folder, which is nobody's to run from. */
    if (dir[0] == '/' && len < PROCESS_PATH_MAX && runnable(ret)) return true;
    dir += n + (dir[n] == ':');
  }
  return false;
}

/* ---- folders and files ---- */

void scratch_path(const char *dir, const char *name, char ret[PROCESS_PATH_MAX]) {
  snprintf(ret, PROCESS_PATH_MAX, "%s/%s", dir, name);
}

/* Who may rename what is in `base`, and so put a folder of theirs in the place of ours: its owner,
 * and those who may write to it unless it is sticky. NULL: nobody but this user and the system's
 * owner, who in a user namespace need not be root. */
static const char *distrust(const char *base, char *text, size_t size) {
  struct stat st, root;
  if (stat(base, &st) != 0) return strerror(errno);
  const bool system = st.st_uid == 0 || (stat("/", &root) == 0 && st.st_uid == root.st_uid);
  if (st.st_uid != geteuid() && !system) {
    snprintf(text, size, "it belongs to user %ld, not to this one (%ld)", (long)st.st_uid,
             (long)geteuid());
    return text;
  }
  if (!(st.st_mode & (S_IWGRP | S_IWOTH)) || st.st_mode & S_ISVTX) return NULL;
  snprintf(text, size, "others may rename what is in it (mode %04o, not sticky)",
           (unsigned)(st.st_mode & 07777));
  return text;
}

mkc_status scratch_create(char ret[PROCESS_PATH_MAX], struct error *err) {
  const char *base = secure_getenv("TMPDIR");
  if (!base || *base != '/') base = "/tmp"; /* a relative one could read as an option */
  char text[160];
  const char *wrong = distrust(base, text, sizeof text);
  const int n = snprintf(ret, PROCESS_PATH_MAX, "%s/maskc-XXXXXX", base);
  /* Files get names of up to 64 bytes in it. */
  if (!wrong && n >= PROCESS_PATH_MAX - 80) wrong = "its name is too long";
  if (!wrong && mkdtemp(ret)) return MKC_OK; /* mode 0700 */
  ret[0] = 0;
  return error_set(err, MKC_E_SYSTEM,
                   "cannot make a folder for temporary files in %s: %s; set TMPDIR to another, "
                   "where files can be written and run",
                   base, wrong ? wrong : strerror(errno));
}

void scratch_remove(const char *dir) {
  DIR *d = *dir ? opendir(dir) : NULL;
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));)
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
      unlinkat(dirfd(d), e->d_name, 0);
  closedir(d);
  rmdir(dir);
}

mkc_status file_write(const char *path, const void *data, size_t len, struct error *err) {
  FILE *f = fopen(path, "wbe");
  bool ok = f && fwrite(data, 1, len, f) == len;
  if (f && fclose(f)) ok = false;
  return ok ? MKC_OK : error_set(err, MKC_E_SYSTEM, "cannot write %s: %s", path, strerror(errno));
}

mkc_status file_read(const char *path, struct buf *ret, struct error *err) {
  char block[8192];
  FILE *f = fopen(path, "rbe");
  if (!f) return error_set(err, MKC_E_SYSTEM, "cannot read %s: %s", path, strerror(errno));
  for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;) buf_write(ret, block, n);
  const bool failed = ferror(f);
  fclose(f);
  if (!failed && !ret->failed) return MKC_OK;
  return error_set(err, ret->failed ? MKC_E_OUT_OF_MEMORY : MKC_E_SYSTEM, "cannot read %s", path);
}
