/* SPDX-License-Identifier: MIT
 * child.h - a part of a test in a process of its own, for what happens once a process.
 *
 *   static void body(FILE *out) { fprintf(out, "%s", mkc_last_error()); }
 *   char *text = child_output(body);    // the caller frees
 */
#ifndef MKC_TESTS_CHILD_H
#define MKC_TESTS_CHILD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *child_output(void (*body)(FILE *out)) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    close(ends[0]);
    FILE *out = fdopen(ends[1], "w");
    body(out);
    fclose(out);
    _exit(0);
  }
  close(ends[1]);
  char *text = calloc(1, 1 << 16);
  size_t len = 0;
  ssize_t n;
  while ((n = read(ends[0], text + len, (1 << 16) - 1 - len)) > 0) len += (size_t)n;
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  return text;
}

#endif
