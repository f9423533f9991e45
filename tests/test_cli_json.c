/* SPDX-License-Identifier: MIT
 * test_cli_json.c - every command under --json, on good input and on bad: one JSON value on
 * standard output, with the members that docs/command-line.md promises. $MASKC is the program.
 */
#include "support.h"

#include "json_check.h"

#include "../runtime/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char gated[] = "return variant {\n"
                            "  name = \"gated\", about = \"\\1 \\\"\\xff\\u{2028}\",\n"
                            "  transition = { decay(exp(input { \"g\", max = 0 })) },\n"
                            "}\n";
static const char delta[] = "return variant { name = \"d\", transition = delta(input \"b\"),\n"
                            "  mask = window(option { \"window\", 4 }) }\n";
static const char bad[] = "return variant {\n"
                          "  name = \"bad\",\n"
                          "  transitoin = {},\n"
                          "}\n";

static int setup(void **state) {
  char *dir = temp_dir();
  static const struct {
    const char *name, *text;
  } files[] = {{"gated.lua", gated}, {"delta.lua", delta}, {"bad.lua", bad}};
  for (int i = 0; i < 3; i++) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
    if (!write_file(path, files[i].text, strlen(files[i].text))) return -1;
  }
  *state = dir;
  return getenv("MASKC") ? 0 : -1;
}

static int teardown(void **state) {
  remove_dir(*state);
  free(*state);
  return 0;
}

/* ---- running ---- */

enum { MAX_WORDS = 24 };

/* `line` is split at spaces, @ stands for the folder; env: one NAME=value, or NULL. */
static struct command_result run(const char *dir, const char *env, const char *line) {
  struct buf text = {0};
  for (const char *p = line; *p; p++) {
    if (*p == '@')
      buf_puts(&text, dir);
    else
      buf_write(&text, p, 1);
  }
  const char *argv[MAX_WORDS + 2] = {getenv("MASKC")};
  int n = 1;
  char *words = buf_steal(&text);
  for (char *w = strtok(words, " "); w && n < MAX_WORDS; w = strtok(NULL, " ")) argv[n++] = w;
  argv[n++] = "--json";
  argv[n] = NULL;
  const char *const list[] = {env, NULL};
  struct command_result r;
  command_run(argv, env ? list : NULL, &r);
  free(words);
  return r;
}

/* The output is JSON; path is in it, and has this value where that is given. */
static void expect_env(void **state, const char *env, const char *line, int status,
                       const char *path, const char *value) {
  struct command_result r = run(*state, env, line);
  const char *stop = json_stops(r.out);
  if (stop) fail_msg("maskc %s --json: no JSON from \"%.40s\" on\n%s", line, stop, r.out);
  if (r.status != status)
    fail_msg("maskc %s --json: exit status %d, not %d\n%s%s", line, r.status, status, r.out, r.err);
  char *found = json_at(r.out, path);
  if (!found) fail_msg("maskc %s --json: no %s in\n%s", line, path, r.out);
  if (value) assert_string_equal(found, value);
  free(found);
  command_result_finish(&r);
}

static void expect(void **state, const char *line, int status, const char *path,
                   const char *value) {
  expect_env(state, NULL, line, status, path, value);
}

/* ---- results ---- */

static void results(void **state) {
  expect(state, "check @/gated.lua", 0, "ok", "true");
  expect(state, "check @/gated.lua", 0, "checks", NULL);
  expect(state, "check @/delta.lua --set window=2", 0, "options", NULL);
  expect(state, "check @/delta.lua", 0, "has_schedule", "false");
  expect(state, "show @/gated.lua --tokens 3", 0, "mask", NULL);
  expect(state, "show @/gated.lua --tokens 3", 0, "launch_heads", "null");
  expect(state, "show @/gated.lua --tokens 3 --heads 9", 0, "launch_heads", "9");
  expect(state, "show @/gated.lua --tokens 3", 0, "plans.0.plan", NULL);
  expect(state, "show @/delta.lua --tokens 3", 0, "plans.0.plan", "null");
  expect(state, "show @/gated.lua --plan", 0, "plans.0.candidates.0.verdict", "\"taken\"");
  expect(state, "show @/gated.lua --plan --heads 9", 0, "plans.0.candidates.0.cost_ns", NULL);
  expect(state, "show @/delta.lua --plan", 0, "plans.0.candidates", "[]");
  expect(state, "show @/gated.lua --plan --arch sm_80,sm_90a", 0, "plans.1.arch", "\"sm_90a\"");
  expect(state, "show @/gated.lua --tokens 2 --arch all", 0, "plans.2.arch", "\"sm_87\"");
  expect(state, "show @/gated.lua --svg @/x.svg", 0, "svg", NULL);
  expect(state, "build @/gated.lua --emit=cu -o @/x.cu", 0, "outputs", NULL);
  expect(state, "list", 0, "specs", NULL);
  expect(state, "doctor", 0, "compiler.ok", "true");
}

static void results_of_run(void **state) {
  expect(state, "run @/gated.lua --shape B=1,T=9,H=1", 0, "o.ok", "true");
  expect(state, "run @/gated.lua --shape B=1,T=9,H=1 --no-reference", 0, "compared", "false");
  expect(state, "run @/gated.lua --shape B=1,T=9,H=1 --check=address", 0, "check", "\"address\"");
}

static void results_of_a_step(void **state) {
  expect(state, "show @/gated.lua --pass step --plan", 0, "plans.0.candidates.0.chunk", "0");
  expect(state, "show @/gated.lua --pass step --plan", 0, "pass", "\"step\"");
  expect(state, "run @/gated.lua --pass step --shape B=1,H=1", 0, "state.ok", "true");
}

static void results_of_cache(void **state) {
  char env[4200];
  snprintf(env, sizeof env, "MASKC_CACHE_DIR=%s/cache", (const char *)*state);
  expect_env(state, env, "cache path", 0, "dir", NULL);
  expect_env(state, env, "cache stat", 0, "entries", "0");
  expect_env(state, env, "cache prune", 0, "removed.entries", "0");
  expect_env(state, env, "cache clear", 0, "left.bytes", "0");
  expect_env(state, "MASKC_CACHE_DIR=/proc/none", "cache stat", 0, "entries", "null");
}

/* ---- errors ---- */

static void errors_of_specs_have_a_place(void **state) {
  static const char *const commands[] = {"check", "show", "show --plan", "build", "run"};
  for (int i = 0; i < 5; i++) {
    char line[80];
    snprintf(line, sizeof line, "%s @/bad.lua", commands[i]);
    expect(state, line, 1, "error.line", "3");
    expect(state, line, 1, "error.col", "3");
    expect(state, line, 1, "error.status", "1001");
    expect(state, line, 1, "error.file", NULL);
    expect(state, line, 1, "error.message", NULL);
  }
}

static void errors_without_one(void **state) {
  expect(state, "check @/none.lua", 1, "error.file", "null");
  expect(state, "check @/none.lua", 1, "error.line", "null");
  expect(state, "check @/delta.lua --set none=2", 1, "error.status", "1002");
  expect(state, "build @/delta.lua --emit=cu", 3, "error.status", "3001");
  expect(state, "run @/gated.lua --shape dk=98", 3, "error.kind", NULL);
  expect(state, "run @/gated.lua --shape T", 2, "error.status", "2001");
  expect(state, "build @/gated.lua --emit=cu --arch=sm_1", 3, "error.status", "3005");
  expect(state, "cache prune --max-bytes x", 2, "error.status", "2001");
  expect_env(state, "MASKC_CACHE_DIR=/proc/none", "cache clear", 3, "error.status", NULL);
}

/* The command line does not even parse. */
static void errors_of_usage(void **state) {
  expect(state, "chekc", 2, "error.status", "2001");
  expect(state, "check", 2, "error.message", NULL);
  expect(state, "check x --nonsense", 2, "error.message", NULL);
  expect(state, "show @/gated.lua --dk=none", 2, "error.line", "null");
  expect(state, "list --chunk", 2, "error.status", "2001");
  expect(state, "doctor x", 2, "error.status", "2001");
  expect(state, "version", 2, "error.status", "2001");
}

/* Exit 3, and still the whole result. */
static void a_doctor_without_devices(void **state) {
  expect_env(state, "MASKC_CC=/nonexistent", "doctor", 3, "compiler.ok", "false");
}

/* ---- the checker itself ---- */

static void stops(const char *text, size_t at) {
  const char *stop = json_stops(text);
  if (!stop) fail_msg("taken for JSON: %s", text);
  assert_int_equal(stop - text, at);
}

static void the_checker_is_strict(void **state) {
  (void)state;
  static const char *const good[] = {"{}", "[]", " [1, -0.5e+3 ,\"\\u00e9\\n\", null]\n",
                                     "{\"a\":{\"b\":[true,false]}}", "0"};
  for (int i = 0; i < 5; i++) assert_null(json_stops(good[i]));
  stops("", 0);
  stops("{} {}", 3);
  stops("[1,]", 3);
  stops("[01]", 2);
  stops("[1.]", 3);
  stops("[nan]", 1);
  stops("{\"a\":1,\"a\":2}", 7);
  stops("{a:1}", 1);
  stops("\"\n\"", 1);
  stops("\"\\x\"", 2);
  stops("[1", 2);
}

static void the_checker_finds_values(void **state) {
  (void)state;
  static const char text[] = "{\"a\": [1], \"b\": {\"c\": {}, \"d\": -2}}";
  char *found = json_at(text, "b.d");
  assert_string_equal(found, "-2");
  free(found);
  found = json_at(text, "a.0");
  assert_string_equal(found, "1");
  free(found);
  assert_null(json_at(text, "a.1"));
  assert_null(json_at(text, "b.e"));
  assert_null(json_at(text, "a.c"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_checker_is_strict),
      cmocka_unit_test(the_checker_finds_values),
      cmocka_unit_test(results),
      cmocka_unit_test(results_of_run),
      cmocka_unit_test(results_of_a_step),
      cmocka_unit_test(results_of_cache),
      cmocka_unit_test(errors_of_specs_have_a_place),
      cmocka_unit_test(errors_without_one),
      cmocka_unit_test(errors_of_usage),
      cmocka_unit_test(a_doctor_without_devices),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
