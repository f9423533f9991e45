/* SPDX-License-Identifier: MIT
 * support.c - see support.h.
 */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- numbers ---- */

bool is_close(double actual, double expected, double rel_tol, double abs_tol) {
  return isfinite(actual) && isfinite(expected) &&
         fabs(actual - expected) <= abs_tol + rel_tol * fabs(expected);
}

double relative_l2(const double *actual, const double *expected, size_t n) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < n; i++) {
    if (!isfinite(actual[i]) || !isfinite(expected[i])) return INFINITY;
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  if (n == 0 || norm == 0) return n != 0 && difference == 0 ? 0 : INFINITY;
  return sqrt(difference / norm);
}

void support_assert_close(double actual, double expected, double rel_tol, double abs_tol,
                          const char *what, const char *file, int line) {
  if (is_close(actual, expected, rel_tol, abs_tol)) return;
  print_error("%s is %.17g, expected %.17g (relative %g, absolute %g)\n", what, actual, expected,
              rel_tol, abs_tol);
  _fail(file, line);
}

void support_assert_arrays(const double *actual, const double *expected, size_t n, double tol,
                           const char *what, const char *file, int line) {
  const double error = relative_l2(actual, expected, n);
  if (error <= tol) return;
  print_error("%s: relative L2 error %g > %g\n", what, error, tol);
  for (size_t i = 0; i < n; i++) {
    if (is_close(actual[i], expected[i], tol, 0)) continue;
    print_error("  first at [%zu]: %.17g, expected %.17g\n", i, actual[i], expected[i]);
    break;
  }
  _fail(file, line);
}

/* ---- text ---- */

void support_assert_contains(const char *text, const char *part, const char *file, int line) {
  if (text && strstr(text, part)) return;
  print_error("not found: \"%s\"\n--- in:\n%s\n---\n", part, text ? text : "(null)");
  _fail(file, line);
}

static void *checked(void *p) {
  if (p) return p;
  perror("test support");
  exit(1);
}

static char *text_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text_of(const char *fmt, ...) {
  char *s = NULL;
  va_list ap;
  va_start(ap, fmt);
  const int n = vasprintf(&s, fmt, ap);
  va_end(ap);
  return n < 0 ? checked(NULL) : s;
}

char *first_difference(const char *expected, const char *actual) {
  int line = 1;
  size_t start = 0, i = 0;
  for (; expected[i] == actual[i]; i++) {
    if (!expected[i]) return NULL;
    if (expected[i] != '\n') continue;
    line++;
    start = i + 1;
  }
  const char *e = expected + start, *a = actual + start;
  return text_of("line %d:\n  expected: %.*s%s\n  actual:   %.*s%s\n", line, (int)strcspn(e, "\n"),
                 e, *e ? "" : "(end of text)", (int)strcspn(a, "\n"), a, *a ? "" : "(end of text)");
}

void support_assert_golden(const char *name, const char *text, const char *file, int line) {
  char *relative = text_of("tests/golden/%s", name), *path = source_path(relative);
  const char *update = getenv("UPDATE_GOLDEN");
  char *expected = NULL, *difference = NULL;
  bool ok;
  if (update && strcmp(update, "1") == 0) {
    ok = write_file(path, text, strlen(text));
    if (!ok) print_error("%s: %s\n", path, strerror(errno));
  } else {
    expected = read_file(path, NULL);
    difference = expected ? first_difference(expected, text) : NULL;
    ok = expected && !difference;
    if (!ok) {
      print_error("%s%s%sIf the new text is right: UPDATE_GOLDEN=1 meson test -C build\n", relative,
                  expected ? ", " : " is missing. ", difference ? difference : "");
    }
  }
  free(relative);
  free(path);
  free(expected);
  free(difference);
  if (!ok) _fail(file, line);
}

/* ---- files ---- */

static char *path_in(const char *variable, const char *relative) {
  const char *root = getenv(variable);
  if (!root) {
    fprintf(stderr, "%s is not set: run the test through meson test\n", variable);
    exit(1);
  }
  return text_of("%s/%s", root, relative);
}

char *source_path(const char *relative) {
  return path_in("MKC_SOURCE_ROOT", relative);
}
char *build_path(const char *relative) {
  return path_in("MKC_BUILD_ROOT", relative);
}

/* Bytes that arrive, in pieces; data stays NUL-terminated. */
struct bytes {
  char *data;
  size_t len, cap;
};

/* Reads once, what is there. Returns false at the end or on an error. */
static bool bytes_read(struct bytes *b, int fd) {
  if (b->cap - b->len < 4096) {
    b->cap = 2 * b->cap + 8192;
    b->data = checked(realloc(b->data, b->cap));
  }
  const ssize_t n = read(fd, b->data + b->len, b->cap - b->len - 1);
  b->len += n > 0 ? (size_t)n : 0;
  b->data[b->len] = 0;
  return n > 0;
}

char *read_file(const char *path, size_t *ret_len) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  struct bytes b = {0};
  while (bytes_read(&b, fd)) {
  }
  close(fd);
  if (ret_len) *ret_len = b.len;
  return b.data;
}

bool write_file(const char *path, const void *data, size_t len) {
  FILE *f = fopen(path, "wb");
  if (!f) return false;
  const bool wrote = fwrite(data, 1, len, f) == len;
  return fclose(f) == 0 && wrote;
}

char *temp_dir(void) {
  const char *tmp = getenv("TMPDIR");
  char *path = text_of("%s/maskc-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  return checked(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
  (void)st, (void)kind, (void)ftw;
  return remove(path);
}

void remove_dir(const char *path) {
  if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS)) perror(path);
}

/* ---- commands ---- */

/* The child's side: never returns. */
static void command_exec(const char *const *argv, const char *const *env, int out, int err) {
  const int in = open("/dev/null", O_RDONLY);
  if (in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(127);
  for (; env && *env; env++) {
    if (strchr(*env, '='))
      putenv((char *)*env);
    else
      unsetenv(*env);
  }
  execvp(argv[0], (char *const *)argv);
  dprintf(2, "%s: %s\n", argv[0], strerror(errno));
  _exit(127);
}

/* Reads both pipes until both end, so that neither fills up and blocks the child. */
static void command_collect(int out, int err, struct bytes *ret_out, struct bytes *ret_err) {
  struct pollfd fds[] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
  struct bytes *bytes[] = {ret_out, ret_err};
  for (int open_fds = 2; open_fds > 0;) {
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
    for (int i = 0; i < 2; i++) {
      if (fds[i].fd < 0 || !fds[i].revents || bytes_read(bytes[i], fds[i].fd)) continue;
      fds[i].fd = -1;
      open_fds--;
    }
  }
}

void command_run(const char *const *argv, const char *const *env, struct command_result *ret) {
  int out[2], err[2], status = 0;
  if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) checked(NULL);
  const pid_t child = fork();
  if (child == 0) command_exec(argv, env, out[1], err[1]);
  close(out[1]);
  close(err[1]);
  struct bytes out_bytes = {.data = checked(calloc(1, 1)), .cap = 1};
  struct bytes err_bytes = {.data = checked(calloc(1, 1)), .cap = 1};
  if (child > 0) command_collect(out[0], err[0], &out_bytes, &err_bytes);
  close(out[0]);
  close(err[0]);
  *ret = (struct command_result){.status = -1, .out = out_bytes.data, .err = err_bytes.data};
  if (child < 0 || waitpid(child, &status, 0) != child) return;
  ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void command_result_finish(struct command_result *r) {
  free(r->out);
  free(r->err);
  *r = (struct command_result){0};
}
