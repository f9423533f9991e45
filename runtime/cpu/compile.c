/* SPDX-License-Identifier: MIT
 * compile.c - runs the C compiler in a private folder, without a shell; see compile.h.
 *
 * Two steps: source to object file, object file to shared object. The second is done without
 * -fsanitize, so that the result brings no sanitizer runtime of its own: it uses the one that the
 * process has, whichever compiler that came from.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asan.h"

mkc_status host_compiler_find(char ret_path[PROCESS_PATH_MAX], struct error *err) {
  static const char *const usual[] = {"cc", "gcc", "clang"};
  const char *wanted = secure_getenv("MASKC_CC");
  if (wanted && *wanted) {
    if (program_find(wanted, ret_path)) return MKC_OK;
    return error_set(err, MKC_E_NO_COMPILER,
                     "MASKC_CC=%s: no such program; it must be a C compiler's name or path",
                     wanted);
  }
  for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
    if (program_find(usual[i], ret_path)) return MKC_OK;
  return error_set(err, MKC_E_NO_COMPILER,
                   "the CPU device needs a C compiler, and PATH has no cc, gcc or clang; install "
                   "one (Debian: apt-get install gcc libc6-dev) or set MASKC_CC");
}

/* ---- options ---- */

enum { MAX_WORDS = 24 };

struct words {
  const char *list[MAX_WORDS + 1]; /* NULL-ended */
  int n;
};

static void add(struct words *w, const char *const *more) {
  while (*more && w->n < MAX_WORDS) w->list[w->n++] = *more++;
  w->list[w->n] = NULL;
}

/* What decides the code; paths are not among it. */
static void add_options(struct words *w, mkc_check check) {
  static const char *const all[] = {"-std=c11",
                                    "-w",
                                    "-fPIC",
                                    "-fvisibility=hidden",
                                    "-ffp-contract=off",
                                    "-fno-math-errno",
                                    "-fno-strict-aliasing",
                                    NULL};
  static const char *const plain[] = {"-O2", NULL};
  /* Instrumented code that is inlined takes gcc five times as long to compile. */
  static const char *const address[] = {
      "-O1", "-g", "-fno-inline", "-fno-omit-frame-pointer", "-fsanitize=address", NULL};
  static const char *const ubsan[] = {"-fsanitize=undefined", "-fno-sanitize-recover=undefined",
                                      NULL};
  /* Binutils lose inlined calls in the DWARF 5 of clang. An operation that is jumped to, not
   * called, would see the place of its caller's caller. */
  static const char *const race[] = {
      "-O2", "-gdwarf-4", "-fsanitize=thread", "-DTILE_HOST_RACES", "-fno-optimize-sibling-calls",
      NULL};
  add(w, all);
  add(w, check == MKC_CHECK_ADDRESS ? address : check == MKC_CHECK_RACE ? race : plain);
  if (check == MKC_CHECK_ADDRESS && ubsan_loaded()) add(w, ubsan);
}

mkc_status host_compile_identity(const struct host_job *job, struct buf *ret, struct error *err) {
  char compiler[PROCESS_PATH_MAX];
  mkc_status status = host_compiler_find(compiler, err);
  if (status) return status;
  char *real = realpath(compiler, NULL);
  struct stat st;
  if (!real || stat(real, &st)) {
    free(real);
    return error_set(err, MKC_E_NO_COMPILER, "cannot look at the C compiler %s", compiler);
  }
  buf_printf(ret, "%s %lld %lld.%09ld", real, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec);
  free(real);
  struct words options = {0};
  add_options(&options, job->check);
  for (int i = 0; i < options.n; i++) buf_printf(ret, " %s", options.list[i]);
  return ret->failed ? error_set(err, MKC_E_OUT_OF_MEMORY, "no memory for a cache key") : MKC_OK;
}

/* ---- the two steps ---- */

struct paths {
  char dir[PROCESS_PATH_MAX], source[PROCESS_PATH_MAX], header[PROCESS_PATH_MAX];
  char object[PROCESS_PATH_MAX], shared[PROCESS_PATH_MAX], log[PROCESS_PATH_MAX];
};

static mkc_status run_compiler(const struct host_job *job, const struct paths *p,
                               const struct words *argv, struct error *err) {
  char tmpdir[PROCESS_PATH_MAX + 8];
  snprintf(tmpdir, sizeof tmpdir, "TMPDIR=%s", p->dir);
  /* Of a sanitizer's worker, LD_PRELOAD would instrument the compiler too. */
  const char *const env[] = {"LC_ALL=C", "LD_PRELOAD", tmpdir, NULL};
  int exit_status;
  mkc_status status = process_run(argv->list, env, p->log, &exit_status, err);
  if (status) return status;
  const char *const output = argv->list[argv->n - 1];
  struct stat st;
  if (exit_status <= 0 && !stat(output, &st)) return MKC_OK;
  struct buf log = {0};
  struct error unread = {0};
  file_read(p->log, &log, &unread);
  error_finish(&unread);
  error_set(err, MKC_E_COMPILE, "%s does not compile the source of %s (exit status %d):\n%s",
            argv->list[0], job->name, exit_status, buf_text(&log));
  buf_finish(&log);
  return MKC_E_COMPILE;
}

static mkc_status source_to_object(const struct host_job *job, const struct paths *p,
                                   const char *compiler, struct error *err) {
  char cwd[PROCESS_PATH_MAX], map[PROCESS_PATH_MAX + 32], map_cwd[PROCESS_PATH_MAX + 32];
  snprintf(map, sizeof map, "-ffile-prefix-map=%s/=", p->dir);
  snprintf(map_cwd, sizeof map_cwd, "-ffile-prefix-map=%s=.", getcwd(cwd, sizeof cwd) ? cwd : "/");
  struct words argv = {0};
  add(&argv, (const char *const[]){compiler, NULL});
  add_options(&argv, job->check);
  add(&argv, (const char *const[]){map, map_cwd, "-c", p->source, "-o", p->object, NULL});
  return run_compiler(job, p, &argv, err);
}

static mkc_status object_to_shared(const struct host_job *job, const struct paths *p,
                                   const char *compiler, struct error *err) {
  struct words argv = {0};
  add(&argv, (const char *const[]){compiler, "-shared", p->object, "-lm", "-o", p->shared, NULL});
  return run_compiler(job, p, &argv, err);
}

static mkc_status compile_in(const struct host_job *job, const struct paths *p, struct buf *ret,
                             struct error *err) {
  char compiler[PROCESS_PATH_MAX];
  mkc_status status = host_compiler_find(compiler, err);
  if (!status) status = file_write(p->header, job->header, strlen(job->header), err);
  if (!status) status = file_write(p->source, job->source, strlen(job->source), err);
  if (!status) status = source_to_object(job, p, compiler, err);
  if (!status) status = object_to_shared(job, p, compiler, err);
  if (!status) status = file_read(p->shared, ret, err);
  return status;
}

mkc_status host_compile(const struct host_job *job, struct buf *ret, struct error *err) {
  struct paths *p = calloc(1, sizeof *p);
  if (!p) return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory to compile %s", job->name);
  mkc_status status = scratch_create(p->dir, err);
  if (!status) {
    const char *slash = strrchr(job->name, '/');
    char file[64];
    snprintf(file, sizeof file, "%.40s.c", slash ? slash + 1 : job->name);
    scratch_path(p->dir, file, p->source);
    scratch_path(p->dir, "tile_host.h", p->header);
    scratch_path(p->dir, "kernel.o", p->object);
    scratch_path(p->dir, "kernel.so", p->shared);
    scratch_path(p->dir, "log", p->log);
    status = compile_in(job, p, ret, err);
  }
  scratch_remove(p->dir);
  free(p);
  return status;
}
