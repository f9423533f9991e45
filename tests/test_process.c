/* SPDX-License-Identifier: MIT
 * test_process.c - runtime/cpu/process.c: programs are started without a shell, and what they read
 * and write lies in folders that nobody else can enter.
 */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../runtime/cpu/compile.h"
#include "../runtime/cpu/process.h"

static char *saved_tmpdir, *saved_path, *dir;

static char *copy_of(const char *text) {
  return text ? strdup(text) : NULL;
}

static void restore(const char *name, char *value) {
  if (value)
    setenv(name, value, 1);
  else
    unsetenv(name);
  free(value);
}

static int setup(void **state) {
  (void)state;
  saved_tmpdir = copy_of(getenv("TMPDIR"));
  saved_path = copy_of(getenv("PATH"));
  dir = temp_dir();
  return 0;
}

static int teardown(void **state) {
  (void)state;
  restore("TMPDIR", saved_tmpdir);
  restore("PATH", saved_path);
  unsetenv("MASKC_CC");
  remove_dir(dir);
  free(dir);
  return 0;
}

static char *in_dir(const char *name) {
  char *path;
  return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static void write_script(const char *path, const char *text) {
  assert_true(write_file(path, text, strlen(text)));
  assert_int_equal(chmod(path, 0755), 0);
}

/* ---- programs ---- */

/* What a shell would run, expand or split arrives as it is. */
static void test_no_shell(void **state) {
  (void)state;
  char *script = in_dir("print"), *output = in_dir("output");
  write_script(script, "#!/bin/sh\nfor word; do printf '<%s>' \"$word\"; done\n");
  const char *const argv[] = {script, "$(touch evil)", "a b", "; exit 7", "`id`", "*", "", NULL};
  struct error err = {0};
  int status;
  size_t len;
  assert_int_equal(process_run(argv, NULL, output, &status, &err), MKC_OK);
  assert_int_equal(status, 0);
  char *text = read_file(output, &len);
  assert_string_equal(text, "<$(touch evil)><a b><; exit 7><`id`><*><>");
  free(text);
  free(script);
  free(output);
}

static void test_environment_and_status(void **state) {
  (void)state;
  char *script = in_dir("print"), *output = in_dir("output");
  write_script(script, "#!/bin/sh\necho \"$SET ${GONE-unset}\"\nread line && echo input\nexit 7\n");
  const char *const argv[] = {script, NULL}, *const env[] = {"SET=a;b", "GONE", NULL};
  struct error err = {0};
  int status;
  size_t len;
  setenv("GONE", "here", 1);
  assert_int_equal(process_run(argv, env, output, &status, &err), MKC_OK);
  unsetenv("GONE");
  assert_int_equal(status, 7);
  char *text = read_file(output, &len);
  assert_string_equal(text, "a;b unset\n");
  free(text);
  const char *const absent[] = {"/nonexistent/cc", NULL};
  assert_int_equal(process_run(absent, NULL, output, &status, &err), MKC_E_SYSTEM);
  assert_contains(error_text(&err), "cannot start /nonexistent/cc: No such file");
  error_finish(&err);
  free(script);
  free(output);
}

/* gcc looks for its assembler and linker in PATH, where a service may have none. */
static void test_a_path_where_there_is_none(void **state) {
  (void)state;
  char *output = in_dir("output");
  const char *const argv[] = {"/usr/bin/env", NULL};
  struct error err = {0};
  int status;
  size_t len;
  unsetenv("PATH");
  assert_int_equal(process_run(argv, NULL, output, &status, &err), MKC_OK);
  char *text = read_file(output, &len);
  assert_contains(text, "PATH=/usr/local/bin:/usr/bin:/bin\n");
  free(text);
  setenv("PATH", "/elsewhere", 1);
  assert_int_equal(process_run(argv, NULL, output, &status, &err), MKC_OK);
  text = read_file(output, &len);
  assert_contains(text, "PATH=/elsewhere\n");
  free(text);
  free(output);
}

/* A compiler in the current folder, or beside a spec, is nobody's to run. */
static void test_relative_path_entries(void **state) {
  (void)state;
  char found[PROCESS_PATH_MAX], *program = in_dir("cc"), *cwd = getcwd(NULL, 0), *path;
  write_script(program, "#!/bin/sh\n");
  assert_int_equal(chdir(dir), 0);
  setenv("PATH", ":.:relative", 1);
  assert_false(program_find("cc", found));
  assert_true(asprintf(&path, ":.:%s", dir) > 0);
  setenv("PATH", path, 1);
  assert_true(program_find("cc", found));
  assert_string_equal(found, program);
  assert_int_equal(chdir(cwd), 0);
  free(cwd);
  free(path);
  free(program);
}

/* MASKC_CC is a program; a command line is not. */
static void test_compiler_is_a_program(void **state) {
  (void)state;
  char found[PROCESS_PATH_MAX];
  struct error err = {0};
  setenv("MASKC_CC", "cc -O3; touch evil", 1);
  assert_int_equal(host_compiler_find(found, &err), MKC_E_NO_COMPILER);
  assert_contains(error_text(&err), "MASKC_CC=cc -O3; touch evil: no such program");
  error_finish(&err);
}

/* ---- folders ---- */

static void test_folder_is_private(void **state) {
  (void)state;
  char scratch[PROCESS_PATH_MAX], file[PROCESS_PATH_MAX];
  struct error err = {0};
  struct stat st;
  setenv("TMPDIR", dir, 1);
  const mode_t mask = umask(0);
  assert_int_equal(scratch_create(scratch, &err), MKC_OK);
  umask(mask);
  assert_memory_equal(scratch, dir, strlen(dir));
  assert_int_equal(stat(scratch, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0700);
  assert_int_equal(st.st_uid, geteuid());
  scratch_path(scratch, "kernel.c", file);
  assert_int_equal(file_write(file, "x", 1, &err), MKC_OK);
  scratch_remove(scratch);
  assert_int_equal(stat(scratch, &st), -1);
}

/* Where others may rename what is in it, a folder with mode 0700 can be swapped for theirs. */
static void test_folder_among_others(void **state) {
  (void)state;
  char scratch[PROCESS_PATH_MAX];
  struct error err = {0};
  setenv("TMPDIR", dir, 1);
  const unsigned modes[] = {0777, 0770, 0702};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(chmod(dir, modes[i]), 0);
    assert_int_equal(scratch_create(scratch, &err), MKC_E_SYSTEM);
    assert_string_equal(scratch, "");
    assert_contains(error_text(&err), "others may rename");
    assert_contains(error_text(&err), dir);
    assert_contains(error_text(&err), "set TMPDIR to another");
  }
  error_finish(&err);
  assert_int_equal(chmod(dir, 01777), 0); /* as /tmp is */
  assert_int_equal(scratch_create(scratch, &err), MKC_OK);
  scratch_remove(scratch);
}

static void test_folder_of_another_user(void **state) {
  (void)state;
  char scratch[PROCESS_PATH_MAX];
  struct error err = {0};
  if (geteuid() != 0) skip(); /* needs two users */
  setenv("TMPDIR", dir, 1);
  assert_int_equal(chown(dir, 12345, 12345), 0);
  assert_int_equal(scratch_create(scratch, &err), MKC_E_SYSTEM);
  assert_contains(error_text(&err), "it belongs to user 12345");
  error_finish(&err);
}

static void test_folder_cannot_be_made(void **state) {
  (void)state;
  char scratch[PROCESS_PATH_MAX];
  struct error err = {0};
  setenv("TMPDIR", "/nonexistent", 1);
  assert_int_equal(scratch_create(scratch, &err), MKC_E_SYSTEM);
  assert_contains(error_text(&err), "/nonexistent: No such file");
  assert_contains(error_text(&err), "set TMPDIR");
  error_finish(&err);
}

/* A relative one would mean another folder in each program, or an option of the compiler. */
static void test_relative_tmpdir_is_ignored(void **state) {
  (void)state;
  char scratch[PROCESS_PATH_MAX];
  struct error err = {0};
  setenv("TMPDIR", "-fplugin=x", 1);
  assert_int_equal(scratch_create(scratch, &err), MKC_OK);
  assert_memory_equal(scratch, "/tmp/maskc-", 11);
  scratch_remove(scratch);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_no_shell),
      T(test_environment_and_status),
      T(test_a_path_where_there_is_none),
      T(test_relative_path_entries),
      T(test_compiler_is_a_program),
      T(test_folder_is_private),
      T(test_folder_among_others),
      T(test_folder_of_another_user),
      T(test_folder_cannot_be_made),
      T(test_relative_tmpdir_is_ignored),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
