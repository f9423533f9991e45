/* SPDX-License-Identifier: MIT
 * test_spec.c - loading specs: what every good spec is understood as, what every bad one is told,
 * and that no text at all brings the loader down.
 *
 *   specs/, tests/specs/   load; tests/golden/describe/NAME.txt
 *   tests/specs_bad/       do not; tests/golden/spec/NAME.err
 */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include "ir.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 400 };

struct files {
  int n;
  char *names[MAX_FILES]; /* without ".lua" */
};

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_specs(const char *folder, struct files *ret) {
  char *path = source_path(folder);
  DIR *dir = opendir(path);
  assert_non_null(dir);
  ret->n = 0;
  for (const struct dirent *e; (e = readdir(dir));) {
    const size_t len = strlen(e->d_name);
    if (len < 4 || strcmp(e->d_name + len - 4, ".lua") != 0) continue;
    assert_true(ret->n < MAX_FILES);
    ret->names[ret->n++] = strndup(e->d_name, len - 4);
  }
  closedir(dir);
  free(path);
  qsort(ret->names, (size_t)ret->n, sizeof *ret->names, by_name);
}

static char *format(const char *fmt, const char *a, const char *b) {
  const int n = snprintf(NULL, 0, fmt, a, b);
  char *s = malloc((size_t)n + 1);
  assert_non_null(s);
  snprintf(s, (size_t)n + 1, fmt, a, b);
  return s;
}

/* The text as a copy that ends where it ends, for AddressSanitizer to see a read beyond it. */
static mkc_status load(const char *name, const char *text, size_t len, struct arena *a,
                       const struct variant **ret, struct error *err) {
  char *copy = malloc(len ? len : 1);
  assert_non_null(copy);
  memcpy(copy, text, len);
  const mkc_status status = spec_load(name, copy, len, a, ret, err);
  free(copy);
  return status;
}

/* What the loader says about a file: the description and warnings, or the error. */
static char *report(const char *folder, const char *name, mkc_status *ret_status) {
  char *relative = format("%s/%s.lua", folder, name), *path = source_path(relative);
  char *shown = format("%s%s", name, ".lua");
  size_t len = 0;
  char *text = read_file(path, &len);
  assert_non_null(text);
  struct arena a;
  jmp_buf out_of_memory; /* never jumped to: the tests do not run out */
  arena_init(&a, &out_of_memory);
  const struct variant *v = NULL;
  struct error err = {0};
  struct buf out = {0};
  *ret_status = load(shown, text, len, &a, &v, &err);
  if (*ret_status == MKC_OK) {
    variant_describe(&out, v);
    for (int i = 0; i < v->nwarnings; i++) buf_printf(&out, "%s\n", v->warnings[i]);
  } else {
    buf_printf(&out, "%s\n", error_text(&err));
  }
  error_finish(&err);
  arena_finish(&a);
  free(text);
  free(shown);
  free(path);
  free(relative);
  return buf_steal(&out);
}

static void check_folder(const char *folder, mkc_status want, const char *golden) {
  static struct files files;
  list_specs(folder, &files);
  assert_true(files.n > 0);
  for (int i = 0; i < files.n; i++) {
    mkc_status status;
    char *text = report(folder, files.names[i], &status);
    if (status != want) fail_msg("%s/%s.lua: %s", folder, files.names[i], text);
    char *name = format(golden, files.names[i], "");
    assert_golden(name, text);
    free(name);
    free(text);
    free(files.names[i]);
  }
}

static void good_specs_are_understood(void **state) {
  (void)state;
  check_folder("specs", MKC_OK, "describe/%s.txt");
  check_folder("tests/specs", MKC_OK, "describe/%s.txt");
}

static void bad_specs_are_told(void **state) {
  (void)state;
  check_folder("tests/specs_bad", MKC_E_SPEC, "spec/%s.err");
}

/* ---- messages ---- */

/* path:line:col: error: ..., and nothing in it that a terminal obeys. */
static void check_message(const char *text) {
  int line = 0, column = 0, at = 0;
  if (sscanf(text, "fuzz.lua:%d:%d: error: %n", &line, &column, &at) != 2 || at == 0 || line < 1 ||
      column < 1)
    fail_msg("no place in: %s", text);
  for (const char *p = text; *p; p++)
    if (((unsigned char)*p < 32 && *p != '\n' && *p != '\t') || *p == 127)
      fail_msg("byte %d in: %s", *p, text);
}

static uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

/* Words that a random change is likely to make something of. */
static const char *const pieces[] = {"{",
                                     "}",
                                     "(",
                                     ")",
                                     "=",
                                     ",",
                                     " * ",
                                     " - ",
                                     "^",
                                     "|",
                                     "~",
                                     "\"",
                                     "\n",
                                     "--",
                                     "[[",
                                     "]]",
                                     "dk",
                                     "dv",
                                     "step",
                                     "levels",
                                     "qk",
                                     "o",
                                     "rowsum",
                                     "head",
                                     "decay(",
                                     "delta(",
                                     "outer(",
                                     "fenwick(",
                                     "window(",
                                     "input ",
                                     "param ",
                                     "identity",
                                     "exp(",
                                     "1e308",
                                     "-1",
                                     "0/0",
                                     "nil",
                                     "l2norm(",
                                     "concat(",
                                     "branches",
                                     "while true do end ",
                                     "function() end",
                                     "..",
                                     "\x1b",
                                     "\xff",
                                     "transition"};

/* Copies text with a few bytes changed, dropped, or replaced by a piece. */
static size_t mutate(const char *text, size_t len, char *out, size_t room, uint64_t *random) {
  const size_t npieces = sizeof pieces / sizeof *pieces;
  size_t n = 0;
  const uint64_t rate = 20 + next_random(random) % 200;
  for (size_t i = 0; i < len && n + 32 < room; i++) {
    if (next_random(random) % rate != 0) {
      out[n++] = text[i];
      continue;
    }
    const char *piece = pieces[next_random(random) % npieces];
    switch (next_random(random) % 4) {
    case 0: break;
    case 1: out[n++] = (char)next_random(random); break;
    case 2: i += next_random(random) % 10; break;
    default: memcpy(out + n, piece, strlen(piece)); n += strlen(piece);
    }
  }
  return n;
}

static void load_mutant(const char *text, size_t len) {
  struct arena a;
  jmp_buf out_of_memory;
  arena_init(&a, &out_of_memory);
  const struct variant *v = NULL;
  struct error err = {0};
  const mkc_status status = load("fuzz.lua", text, len, &a, &v, &err);
  if (status == MKC_OK) {
    struct buf out = {0};
    variant_describe(&out, v);
    assert_true(out.len > 0);
    buf_finish(&out);
  } else {
    assert_int_equal(status, MKC_E_SPEC);
    check_message(error_text(&err));
  }
  error_finish(&err);
  arena_finish(&a);
}

static void no_text_brings_it_down(void **state) {
  (void)state;
  static struct files files;
  static char mutant[4096];
  uint64_t random = 1;
  list_specs("tests/specs", &files);
  for (int i = 0; i < files.n; i++) {
    char *relative = format("%s/%s.lua", "tests/specs", files.names[i]);
    char *path = source_path(relative);
    size_t len = 0;
    char *text = read_file(path, &len);
    for (int j = 0; j < 60; j++)
      load_mutant(mutant, mutate(text, len, mutant, sizeof mutant, &random));
    for (size_t cut = 0; cut < len; cut += 1 + len / 20) load_mutant(text, cut);
    free(text);
    free(path);
    free(relative);
    free(files.names[i]);
  }
}

/* Lua seeds its hash tables anew in every state: the message must not depend on it. */
static void the_same_error_every_time(void **state) {
  (void)state;
  static const char spec[] = "return variant { name = 'x', zeta = 1, alpha = 2, beta = 3, mu = 4 }";
  for (int i = 0; i < 50; i++) {
    struct arena a;
    jmp_buf out_of_memory;
    arena_init(&a, &out_of_memory);
    const struct variant *v;
    struct error err = {0};
    assert_int_equal(spec_load("x.lua", spec, strlen(spec), &a, &v, &err), MKC_E_SPEC);
    assert_contains(error_text(&err), "x.lua:1:40: error: unknown field 'alpha'");
    error_finish(&err);
    arena_finish(&a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_specs_are_understood),
      cmocka_unit_test(bad_specs_are_told),
      cmocka_unit_test(the_same_error_every_time),
      cmocka_unit_test(no_text_brings_it_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
