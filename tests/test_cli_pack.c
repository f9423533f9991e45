/* SPDX-License-Identifier: MIT
 * test_cli_pack.c - maskc build --emit=pack and --emit=asm, list --pack, run --pack: what they
 * make, that it is the same bytes whoever makes it, and what they say of what is wrong. Most packs
 * are of source alone (--arch=cpu), which takes no NVRTC.
 */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include "json_check.h"

#include "../runtime/base/buf.h"
#include "../runtime/nvrtc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char gated[] = "return variant {\n"
                            "  name = \"gated\",\n"
                            "  transition = { decay(exp(input { \"g\", max = 0 })) },\n"
                            "}\n";
static const char gated_too[] = "return variant { name = \"gated\" }\n";
static const char lacking[] =
    "return variant { name = \"lacking\", transition = { delta(input \"b\") },\n"
    "  mask = window(option { \"window\", 4 }) }\n";
static const char with_option[] = "return variant {\n"
                                  "  name = \"with_option\",\n"
                                  "  transition = { decay(option { \"depth\", 3 } / 4) },\n"
                                  "}\n";

static int setup(void **state) {
  static const struct {
    const char *name, *text;
  } files[] = {{"gated.lua", gated},
               {"my gated.lua", gated},
               {"too.lua", gated_too},
               {"lacking.lua", lacking},
               {"option.lua", with_option}};
  char *dir = temp_dir();
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
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

enum { MAX_WORDS = 40 };

/* `line` is split at spaces; @ stands for the folder, ~ for a blank in a name. */
static struct command_result run_program(const char *program, const char *dir, const char *line) {
  struct buf text = {0};
  for (const char *p = line; *p; p++) {
    if (*p == '@')
      buf_puts(&text, dir);
    else
      buf_write(&text, p, 1);
  }
  const char *argv[MAX_WORDS + 2] = {program};
  char *words = buf_steal(&text);
  int n = 1;
  for (char *w = strtok(words, " "); w && n < MAX_WORDS; w = strtok(NULL, " ")) {
    for (char *p = w; *p; p++)
      if (*p == '~') *p = ' ';
    argv[n++] = w;
  }
  struct command_result r;
  command_run(argv, NULL, &r);
  free(words);
  return r;
}

static void expect(void **state, const char *line, int status, const char *out, const char *err) {
  struct command_result r = run_program(getenv("MASKC"), *state, line);
  if (r.status != status)
    fail_msg("maskc %s: exit status %d, not %d\n%s%s", line, r.status, status, r.out, r.err);
  if (out) assert_contains(r.out, out);
  if (err) assert_contains(r.err, err);
  command_result_finish(&r);
}

static char *read_in(const char *dir, const char *name, size_t *len) {
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  char *text = read_file(path, len);
  if (!text) fail_msg("%s: not written", path);
  return text;
}

static void expect_same(void **state, const char *a, const char *b) {
  size_t na, nb;
  char *x = read_in(*state, a, &na), *y = read_in(*state, b, &nb);
  assert_int_equal(na, nb);
  assert_memory_equal(x, y, na);
  free(x);
  free(y);
}

static void expect_text(void **state, const char *name, const char *expected) {
  struct buf text = {0};
  for (const char *p = expected; *p; p++) {
    if (*p == '@')
      buf_puts(&text, *state);
    else
      buf_write(&text, p, 1);
  }
  char *actual = read_in(*state, name, NULL);
  assert_string_equal(actual, buf_text(&text));
  free(actual);
  buf_finish(&text);
}

/* ---- what it makes ---- */

static void a_matrix(void **state) {
  expect(state,
         "build @/gated.lua simple_gla --emit=pack --arch=cpu --dk=16,32 --dv=16 "
         "--dtype=bf16,fp16 --pass=forward,step -o @/m.mkp",
         0, "", "maskc: wrote ");
  expect(state, "list --pack @/m.mkp", 0, "m.mkp: ops: 16, specs: 2, made by maskc ", NULL);
  expect(state, "list --pack @/m.mkp", 0,
         "gated\n"
         "  forward bf16 dk=16 dv=16, for cpu:sm_80\n"
         "  forward bf16 dk=32 dv=16, for cpu:sm_80\n"
         "  forward fp16 dk=16 dv=16, for cpu:sm_80\n"
         "  forward fp16 dk=32 dv=16, for cpu:sm_80\n"
         "  step bf16 dk=16 dv=16, for cpu:sm_80\n",
         NULL);
}

/* No progress where nobody looks, and a pack through a pipe. */
static void in_a_pipe(void **state) {
  struct command_result r =
      run_program(getenv("MASKC"), *state,
                  "build @/gated.lua --emit=pack --arch=cpu --dk=16 --dv=16 -o @/q.mkp");
  struct buf said = {0};
  size_t len;
  char *bytes = read_in(*state, "q.mkp", &len);
  buf_printf(&said, "maskc: wrote %s/q.mkp (%zu bytes)\n", (char *)*state, len);
  assert_string_equal(r.err, buf_text(&said));
  assert_string_equal(r.out, "");
  command_result_finish(&r);
  buf_finish(&said);
  free(bytes);
  r = run_program("sh", *state,
                  "-c $MASKC~build~@/gated.lua~--emit=pack~--arch=cpu~--dk=16~--dv=16~-o~-"
                  "~|~cat~>@/piped.mkp");
  assert_int_equal(r.status, 0);
  command_result_finish(&r);
  expect_same(state, "q.mkp", "piped.mkp");
}

static void the_same_bytes(void **state) {
  const char *build = "build %s --emit=pack --arch=cpu --dk=%s --dv=16,32 -j%d -o @/%s";
  char line[400];
  snprintf(line, sizeof line, build, "@/gated.lua retnet", "16,32", 1, "a.mkp");
  expect(state, line, 0, NULL, NULL);
  snprintf(line, sizeof line, build, "retnet @/gated.lua", "32,16,32", 4, "b.mkp");
  expect(state, line, 0, NULL, NULL);
  expect_same(state, "a.mkp", "b.mkp");
}

static void runs(void **state) {
  expect(state, "build @/gated.lua --emit=pack --arch=cpu --dk=16 --dv=16 -o @/r.mkp", 0, NULL,
         NULL);
  expect(state, "run @/gated.lua --pack @/r.mkp --shape B=1,T=20,H=1,dk=16,dv=16 -v", 0, ": ok",
         "gated: sm_80 from ");
  expect(state, "run @/gated.lua --pack @/r.mkp --shape B=1,T=20,H=1,dk=32,dv=16", 1, NULL,
         "r.mkp does not hold this op");
  expect(state, "run @/too.lua --pack @/r.mkp --shape B=1,T=20,H=1,dk=16,dv=16", 1, NULL,
         "r.mkp does not hold this op");
  expect(state, "run @/gated.lua --pack @/absent.mkp", 1, NULL, "absent.mkp: No such file");
}

static void options_of_the_spec(void **state) {
  expect(state,
         "build @/option.lua --emit=pack --arch=cpu --dk=16 --dv=16 --set depth=2 -o @/o.mkp", 0,
         NULL, NULL);
  expect(state, "list --pack @/o.mkp", 0, "with_option depth=2\n", NULL);
  expect(state, "run @/option.lua --set depth=2 --pack @/o.mkp --shape T=5,dk=16,dv=16", 0, ": ok",
         NULL);
  expect(state, "run @/option.lua --pack @/o.mkp --shape T=5,dk=16,dv=16", 1, NULL,
         "does not hold this op");
}

static void json(void **state) {
  static const struct {
    const char *path, *value;
  } members[] = {{"maskc", NULL},
                 {"nvrtc", "0"},
                 {"ops.0.name", "\"with_option\""},
                 {"ops.0.spec_sha256", NULL},
                 {"ops.0.options.0.name", "\"depth\""},
                 {"ops.0.options.0.value", "3"},
                 {"ops.0.pass", "\"forward\""},
                 {"ops.0.dtype", "\"bf16\""},
                 {"ops.0.dk", "16"},
                 {"ops.0.align", "16"},
                 {"ops.0.codes.0.kind", "\"source\""},
                 {"ops.0.codes.0.arch", "\"sm_80\""},
                 {"ops.0.codes.0.smem_bytes", NULL},
                 {"ops.0.codes.0.code_bytes", "0"}};
  expect(state, "build @/option.lua --emit=pack --arch=cpu --dk=16 --dv=16 -o @/j.mkp --json", 0,
         "\"emit\": \"pack\"", NULL);
  struct command_result r = run_program(getenv("MASKC"), *state, "list --pack @/j.mkp --json");
  assert_int_equal(r.status, 0);
  assert_null(json_stops(r.out));
  for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
    char *value = json_at(r.out, members[i].path);
    if (!value) fail_msg("no %s in\n%s", members[i].path, r.out);
    if (members[i].value) assert_string_equal(value, members[i].value);
    free(value);
  }
  command_result_finish(&r);
}

static void depfile(void **state) {
  expect(state,
         "build @/my~gated.lua retnet --emit=pack --arch=cpu --dk=16 --dv=16 -o @/d.mkp "
         "--depfile @/d.d",
         0, NULL, NULL);
  expect_text(state, "d.d", "@/d.mkp: @/my\\ gated.lua\n");
  expect(state, "build @/gated.lua --emit=asm --arch=cpu --dk=16 --dv=16 -o @/d.S --depfile @/d.d",
         0, NULL, NULL);
  expect_text(state, "d.d", "@/d.S @/d.h: @/gated.lua\n");
  expect(state, "build @/gated.lua --emit=cu -o @/d.cu --depfile @/d.d", 0, NULL, NULL);
  expect_text(state, "d.d", "@/d.cu: @/gated.lua\n");
}

/* The array that a C program sees is the pack. */
static void as_assembler_source(void **state) {
  static const char host[] =
      "#include <stdio.h>\n#include \"all-ops.h\"\n"
      "int main(void) {\n"
      "  return (unsigned long)all_ops % 64 ||\n"
      "         fwrite(all_ops, 1, sizeof all_ops, stdout) != sizeof all_ops;\n"
      "}\n";
  char path[4200];
  snprintf(path, sizeof path, "%s/host.c", (char *)*state);
  assert_true(write_file(path, host, strlen(host)));
  const char *build = "build @/gated.lua --arch=cpu --dk=16 --dv=16";
  char line[400];
  snprintf(line, sizeof line, "%s --emit=pack -o @/p.mkp", build);
  expect(state, line, 0, NULL, NULL);
  snprintf(line, sizeof line, "%s --emit=asm -o @/all-ops.S", build);
  expect(state, line, 0, NULL, NULL);
  struct command_result r = run_program("cc", *state, "@/host.c @/all-ops.S -o @/host");
  assert_string_equal(r.err, "");
  assert_int_equal(r.status, 0);
  command_result_finish(&r);
  r = run_program("sh", *state, "-c @/host>@/embedded.mkp");
  assert_int_equal(r.status, 0);
  command_result_finish(&r);
  expect_same(state, "p.mkp", "embedded.mkp");
}

/* ---- with NVRTC ---- */

static bool has_nvrtc(void) {
  struct nvrtc_location location;
  struct error err = {0};
  const bool has = nvrtc_locate(&location, &err) == MKC_OK;
  error_finish(&err);
  return has;
}

/* Compiled by two threads, by one, and from the cache. */
static void compiled(void **state) {
  if (!has_nvrtc()) skip();
  const char *build = "build simple_gla --pass step --emit=pack --arch=sm_90a,sm_80 --dk=16 "
                      "--dv=16,32 %s -o @/%s";
  char line[400];
  snprintf(line, sizeof line, build, "-j2 --no-cache", "c1.mkp");
  expect(state, line, 0, NULL, NULL);
  snprintf(line, sizeof line, build, "-j1", "c2.mkp");
  expect(state, line, 0, NULL, NULL);
  snprintf(line, sizeof line, build, "-j2", "c3.mkp");
  expect(state, line, 0, NULL, NULL);
  expect_same(state, "c1.mkp", "c2.mkp");
  expect_same(state, "c1.mkp", "c3.mkp");
  expect(state, "list --pack @/c1.mkp", 0, "  step bf16 dk=16 dv=16, for sm_80 ptx:sm_80 sm_90a\n",
         NULL);
  snprintf(line, sizeof line, build, "--no-ptx", "c4.mkp");
  expect(state, line, 0, NULL, NULL);
  expect(state, "list --pack @/c4.mkp", 0, "  step bf16 dk=16 dv=32, for sm_80 sm_90a\n", NULL);
}

/* ---- what is wrong ---- */

static void what_no_schedule_serves(void **state) {
  expect(state, "build @/lacking.lua @/gated.lua --emit=pack --arch=cpu --dk=16 --dv=16 -o @/x.mkp",
         3, NULL,
         "1 of 2 kernels have no schedule (--skip-unserved leaves them out):\n"
         "lacking forward bf16 dk=16 dv=16 for sm_80: no schedule serves lacking yet");
  expect(state,
         "build @/lacking.lua @/gated.lua --emit=pack --arch=cpu --dk=16 --dv=16 -o @/x.mkp "
         "--skip-unserved",
         0, NULL, "warning: lacking forward bf16 dk=16 dv=16 for sm_80: left out: no schedule");
  expect(state, "list --pack @/x.mkp", 0, "ops: 1, specs: 1,", NULL);
  expect(state,
         "build @/lacking.lua --emit=pack --arch=cpu --dk=16 --dv=16 -o @/y.mkp --skip-unserved", 3,
         NULL, "no schedule serves any of this");
  expect(state, "list --pack @/y.mkp", 1, NULL, "No such file");
}

static void command_lines(void **state) {
  expect(state, "build retnet --emit=pack --arch=cpu", 2, NULL, "give -o FILE.mkp");
  expect(state, "build retnet --emit=asm --arch=cpu -o @", 2, NULL, "give -o FILE.S");
  expect(state, "build retnet --emit=asm --arch=cpu -o -", 2, NULL, "give --header FILE");
  expect(state, "build retnet --emit=cu --dk=16,32", 2, NULL, "are for --emit=pack and --emit=asm");
  expect(state, "build retnet --emit=cu --skip-unserved", 2, NULL,
         "--skip-unserved is for --emit=pack and --emit=asm");
  expect(state, "build retnet --emit=pack --header x.h -o @/x", 2, NULL, "--header is for");
  expect(state, "build retnet --emit=pack --dk=16, -o @/x", 2, NULL,
         "--dk=: expected a whole number");
  expect(state, "build retnet --emit=pack --dk=16,x -o @/x", 2, NULL, "--dk=x: expected a whole");
  expect(state, "build retnet --emit=pack --dtype=bf16,fp8 -o @/x", 2, NULL,
         "--dtype=fp8: expected");
  expect(state, "show retnet --dk=16,32", 2, NULL, "--dk=16,32: expected a whole number");
  expect(state, "build @/gated.lua @/too.lua --emit=pack --arch=cpu -o @/x", 2, NULL,
         "two specs are called gated");
  expect(state, "build retnet --emit=pack --arch=sm_1 -o @/x", 3, NULL,
         "unknown architecture 'sm_1'");
  expect(state, "build retnet --emit=pack --arch=cpu -o @/absent/x", 1, NULL, "cannot create");
}

static void damaged(void **state) {
  size_t len;
  char path[4200];
  expect(state, "build retnet --emit=pack --arch=cpu --dk=16 --dv=16 -o @/whole.mkp", 0, NULL,
         NULL);
  char *bytes = read_in(*state, "whole.mkp", &len);
  snprintf(path, sizeof path, "%s/bad.mkp", (char *)*state);
  bytes[len - 1] ^= 1;
  assert_true(write_file(path, bytes, len));
  expect(state, "list --pack @/bad.mkp", 1, NULL, "bad.mkp: damaged: the source of retnet");
  assert_true(write_file(path, bytes, len - 1));
  expect(state, "list --pack @/bad.mkp", 1, NULL, "bytes");
  expect(state, "list --pack @/gated.lua", 1, NULL, "gated.lua: not a pack of maskc");
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_matrix),
      cmocka_unit_test(in_a_pipe),
      cmocka_unit_test(the_same_bytes),
      cmocka_unit_test(runs),
      cmocka_unit_test(options_of_the_spec),
      cmocka_unit_test(json),
      cmocka_unit_test(depfile),
      cmocka_unit_test(as_assembler_source),
      cmocka_unit_test(compiled),
      cmocka_unit_test(what_no_schedule_serves),
      cmocka_unit_test(command_lines),
      cmocka_unit_test(damaged),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
