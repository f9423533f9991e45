/* SPDX-License-Identifier: MIT
 * worker.c - see worker.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "asan.h"
#include "compile.h"
#include "watch.h"

#if defined(__aarch64__)
#define CLANG_ASAN "libclang_rt.asan-aarch64.so"
#else
#define CLANG_ASAN "libclang_rt.asan-x86_64.so"
#endif

enum { WATCH_SECONDS = 5 };

bool cpu_asan_loaded(void) {
  struct asan asan;
  return asan_find(&asan);
}

bool cpu_is_worker(mkc_check check) {
  return check == MKC_CHECK_ADDRESS ? cpu_asan_loaded() : getenv("MASKC_WORKER") != NULL;
}

void cpu_worker_watch(void) {
  watch_start(WATCH_SECONDS);
}

/* ---- the runtime library ---- */

/* Asks the compiler where it keeps a library; "" if it does not have it. */
static mkc_status ask(const char *compiler, const char *library, const char *dir,
                      char ret[PROCESS_PATH_MAX], struct error *err) {
  char option[128], answer[PROCESS_PATH_MAX];
  snprintf(option, sizeof option, "-print-file-name=%s", library);
  scratch_path(dir, "answer", answer);
  const char *const argv[] = {compiler, option, NULL}, *const env[] = {"LD_PRELOAD", NULL};
  struct buf text = {0};
  int exit_status;
  mkc_status status = process_run(argv, env, answer, &exit_status, err);
  if (!status) status = file_read(answer, &text, err);
  ret[0] = 0;
  if (!status && !exit_status && buf_text(&text)[0] == '/') {
    text.data[strcspn(text.data, "\n")] = 0;
    char *real = realpath(text.data, NULL); /* a preloaded name must be a library, not a script */
    if (real) snprintf(ret, PROCESS_PATH_MAX, "%s", real);
    free(real);
  }
  buf_finish(&text);
  return status;
}

static mkc_status preload_list(const char *compiler, const char *dir, char *ret, size_t n,
                               struct error *err) {
  char asan[PROCESS_PATH_MAX], ubsan[PROCESS_PATH_MAX] = "";
  mkc_status status = ask(compiler, CLANG_ASAN, dir, asan, err); /* has UBSan in it */
  if (!status && !asan[0]) {
    status = ask(compiler, "libasan.so", dir, asan, err);
    if (!status) status = ask(compiler, "libubsan.so", dir, ubsan, err);
  }
  if (status) return status;
  if (!asan[0])
    return error_set(err, MKC_E_NO_COMPILER,
                     "%s has no AddressSanitizer runtime, neither libasan.so nor %s (Debian: "
                     "libgcc-12-dev for gcc, libclang-common-14-dev for clang)",
                     compiler, CLANG_ASAN);
  const int len = snprintf(ret, n, "%s%s%s", asan, ubsan[0] ? ":" : "", ubsan);
  if (len >= 0 && (size_t)len < n) return MKC_OK;
  return error_set(err, MKC_E_ARGUMENT, "the path of AddressSanitizer's runtime is too long");
}

mkc_status cpu_asan_preload(char *ret, size_t n, struct error *err) {
  char compiler[PROCESS_PATH_MAX], dir[PROCESS_PATH_MAX];
  mkc_status status = host_compiler_find(compiler, err);
  if (!status) status = scratch_create(dir, err);
  if (status) return status;
  status = preload_list(compiler, dir, ret, n, err);
  scratch_remove(dir);
  return status;
}

/* ---- the worker ---- */

enum { VARIABLE_MAX = 3 * PROCESS_PATH_MAX };

struct worker_env {
  char preload[VARIABLE_MAX], asan[VARIABLE_MAX], ubsan[VARIABLE_MAX];
  char tmpdir[PROCESS_PATH_MAX + 8];
};

static const char *or_empty(const char *s) {
  return s ? s : "";
}

/* The user's own options come last and win. */
static void set_env(struct worker_env *e, const char *preload, const char *dir) {
  const char *more = getenv("LD_PRELOAD");
  snprintf(e->preload, VARIABLE_MAX, "LD_PRELOAD=%s%s%s", preload, *preload ? ":" : "",
           or_empty(more));
  snprintf(e->asan, VARIABLE_MAX,
           "ASAN_OPTIONS=exitcode=4:detect_leaks=0:detect_stack_use_after_return=0:%s",
           or_empty(getenv("ASAN_OPTIONS")));
  snprintf(e->ubsan, VARIABLE_MAX, "UBSAN_OPTIONS=exitcode=4:print_stacktrace=1:%s",
           or_empty(getenv("UBSAN_OPTIONS")));
  snprintf(e->tmpdir, sizeof e->tmpdir, "TMPDIR=%s", dir);
}

/* What a worker that the sanitizer ended could not remove: folders with files in them. */
static void remove_tree(const char *dir) {
  DIR *d = opendir(dir);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    char path[PROCESS_PATH_MAX];
    if (!strncmp(e->d_name, "maskc-", 6)) {
      scratch_path(dir, e->d_name, path);
      scratch_remove(path);
    }
  }
  closedir(d);
  scratch_remove(dir);
}

static mkc_status run_in(const char *dir, char *const *argv, const char *preload, int *ret_exit,
                         struct error *err) {
  char self[PROCESS_PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n < 0) return error_set(err, MKC_E_SYSTEM, "/proc/self/exe: %s", strerror(errno));
  self[n] = 0;
  size_t argc = 1;
  while (argv[0] && argv[argc]) argc++;
  const char **list = calloc(argc + 1, sizeof *list);
  struct worker_env *e = calloc(1, sizeof *e);
  mkc_status status = MKC_OK;
  if (list && e) {
    for (size_t i = 1; i < argc; i++) list[i] = argv[i];
    list[0] = self;
    set_env(e, preload, dir);
    const char *const env[] = {e->preload, e->asan, e->ubsan, e->tmpdir, "MASKC_WORKER=1", NULL};
    status = process_run(list, env, NULL, ret_exit, err);
    if (!status && *ret_exit < 0)
      status =
          error_set(err, MKC_E_SYSTEM, "the worker's exit status is unknown: SIGCHLD is ignored");
  } else {
    status = error_set(err, MKC_E_OUT_OF_MEMORY, "no memory to start a worker");
  }
  free(e);
  free(list);
  return status;
}

mkc_status cpu_worker_run(char *const *argv, mkc_check check, int *ret_exit, struct error *err) {
  /* a second runtime would not start */
  const bool load = check == MKC_CHECK_ADDRESS && !cpu_asan_loaded();
  if (load && getenv("MASKC_WORKER"))
    return error_set(err, MKC_E_SYSTEM,
                     "AddressSanitizer's runtime was preloaded, and is not in the process");
  char preload[2 * PROCESS_PATH_MAX] = "", dir[PROCESS_PATH_MAX];
  mkc_status status = load ? cpu_asan_preload(preload, sizeof preload, err) : MKC_OK;
  if (!status) status = scratch_create(dir, err);
  if (status) return status;
  status = run_in(dir, argv, preload, ret_exit, err);
  remove_tree(dir);
  return status;
}
