/* SPDX-License-Identifier: MIT
 * test_op_pack.c - op_pack.c and the packs of a context: which op mkc_op_create takes, that it runs
 * on the CPU device as one that was generated, and on a GPU (fake_libcuda.c) without NVRTC.
 */
#define _GNU_SOURCE
#include "support.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "gen.h"
#include "op.h"
#include "pack_fixture.h"

static mkc_context *new_context(const struct buf *pack) {
  mkc_context_options options = MKC_CONTEXT_OPTIONS_INIT;
  mkc_context *ctx;
  options.no_cache = 1;
  assert_int_equal(mkc_context_create(&options, &ctx), MKC_OK);
  if (pack) assert_int_equal(mkc_context_add_pack_memory(ctx, pack->data, pack->len), MKC_OK);
  return ctx;
}

static mkc_op_options toy_options(void) {
  mkc_op_options o = MKC_OP_OPTIONS_INIT;
  o.spec_path = "toy";
  o.device = "cpu";
  o.dk = o.dv = 64;
  return o;
}

static int setup(void **state) {
  struct buf *pack = calloc(1, sizeof *pack);
  *state = pack;
  return pack && fixture_pack(0, pack) ? 0 : -1;
}

static int teardown(void **state) {
  buf_finish(*state);
  free(*state);
  return 0;
}

/* ---- which op ---- */

static void expect_source(mkc_context *ctx, const mkc_op_options *o, const char *source) {
  mkc_op *op = NULL;
  if (mkc_op_create(ctx, o, &op)) fail_msg("%s", mkc_last_error());
  assert_string_equal(mkc_op_source(op), source);
  mkc_op_destroy(op);
}

static void expect_refused(mkc_context *ctx, const mkc_op_options *o, mkc_status status,
                           const char *part) {
  mkc_op *op = NULL;
  assert_int_equal(mkc_op_create(ctx, o, &op), status);
  assert_contains(mkc_last_error(), part);
  assert_null(op);
}

static void test_by_name_or_text(void **state) {
  mkc_context *ctx = new_context(*state);
  mkc_op_options o = toy_options();
  expect_source(ctx, &o, "source of toy sm_80");
  o.arch = "sm_90a";
  expect_source(ctx, &o, "source of toy sm_90a");
  o.spec_path = "x.lua"; /* names the text in messages, and no more */
  o.spec_text = toy_text;
  expect_source(ctx, &o, "source of toy sm_90a");
  o.spec_text = "the text of toy ";
  expect_refused(ctx, &o, MKC_E_SPEC, "x.lua:1");
  mkc_context_destroy(ctx);
}

static void test_by_file(void **state) {
  mkc_context *ctx = new_context(*state);
  mkc_op_options o = toy_options();
  char *dir = temp_dir(), path[4200];
  snprintf(path, sizeof path, "%s/renamed.lua", dir);
  assert_true(write_file(path, toy_text, strlen(toy_text)));
  o.spec_path = path;
  expect_source(ctx, &o, "source of toy sm_80");
  mkc_context_destroy(ctx);
  remove_dir(dir);
  free(dir);
}

static void test_settings(void **state) {
  mkc_context *ctx = new_context(*state);
  mkc_op_options o = toy_options();
  mkc_setting setting = {"window", 8};
  o.settings = &setting;
  o.nsettings = 1;
  mkc_op *op = NULL;
  assert_int_equal(mkc_op_create(ctx, &o, &op), MKC_OK);
  const char *code = op_source_of(op)->code;
  assert_non_null(code);
  setting.value = 9;
  expect_refused(ctx, &o, MKC_E_FILE, "nearest: the pack in memory has toy window=8 forward");
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

/* What no pack has is generated; what is neither is told what there is. */
static void test_then_the_generator(void **state) {
  mkc_context *ctx = new_context(*state);
  mkc_op_options o = toy_options();
  mkc_op *op = NULL;
  o.spec_path = "simple_gla";
  assert_int_equal(mkc_op_create(ctx, &o, &op), MKC_OK);
  assert_null(op_source_of(op)->pack);
  assert_contains(mkc_op_source(op), "simple_gla");
  mkc_op_destroy(op);
  o = toy_options(), o.dk = 65;
  expect_refused(ctx, &o, MKC_E_FILE, "no spec named \"toy\" is shipped; there are");
  expect_refused(ctx, &o, MKC_E_FILE,
                 "; nearest: the pack in memory has toy window=8 forward bf16 "
                 "dk=64 dv=64, for sm_80");
  mkc_context_destroy(ctx);
}

/* A pack of one op of this name, whose source says "source of NAME sm_80". */
static struct buf one_op(const char *name, const char *says) {
  struct pack_writer *w = pack_writer_create();
  struct buf out = {0};
  struct error err = {0};
  const struct pack_op op = {.dtype = MKC_BF16, .dk = 64, .dv = 64};
  assert_int_equal(pack_writer_spec(w, name, (const unsigned char[SHA256_BYTES]){0}, NULL, 0), 0);
  assert_true(fixture_code(w, &op, says, "sm_80", PACK_SOURCE));
  assert_int_equal(pack_writer_write(w, 0, &out, &err), MKC_OK);
  pack_writer_destroy(w);
  return out;
}

static void test_the_first_pack_that_has_it(void **state) {
  struct buf a = one_op("simple_gla", "a"), b = one_op("simple_gla", "b"), c = one_op("c", "c");
  mkc_context *ctx = new_context(*state);
  mkc_op_options o = toy_options();
  const struct buf *packs[] = {&c, &a, &b};
  for (int i = 0; i < 3; i++)
    assert_int_equal(mkc_context_add_pack_memory(ctx, packs[i]->data, packs[i]->len), MKC_OK);
  expect_source(ctx, &o, "source of toy sm_80");
  o.spec_path = "simple_gla"; /* shipped too */
  expect_source(ctx, &o, "source of a sm_80");
  mkc_context_destroy(ctx);
  buf_finish(&a);
  buf_finish(&b);
  buf_finish(&c);
}

static void test_damage_is_no_miss(void **state) {
  const struct buf *good = *state;
  struct buf bad = {0};
  buf_write(&bad, good->data, good->len);
  memset(bad.data + bad.len - 200, 0, 200);
  mkc_context *ctx = new_context(&bad);
  mkc_op_options o = toy_options();
  o.spec_path = "wide";
  o.pass = MKC_STEP, o.dtype = MKC_F32, o.dk = o.dv = 32;
  expect_refused(ctx, &o, MKC_E_FILE, "the pack in memory: damaged: the ");
  mkc_context_destroy(ctx);
  buf_finish(&bad);
}

static void test_adding(void **state) {
  const struct buf *good = *state;
  mkc_context *ctx = new_context(NULL);
  char *dir = temp_dir(), path[4200];
  snprintf(path, sizeof path, "%s/x.mkp", dir);
  assert_int_equal(mkc_context_add_pack(ctx, path), MKC_E_FILE);
  assert_contains(mkc_last_error(), path);
  assert_true(write_file(path, good->data, good->len));
  assert_int_equal(mkc_context_add_pack(ctx, path), MKC_OK);
  assert_int_equal(remove(path), 0); /* it stays mapped */
  mkc_op_options o = toy_options();
  expect_source(ctx, &o, "source of toy sm_80");
  assert_int_equal(mkc_context_add_pack_memory(ctx, good->data, 100), MKC_E_FILE);
  assert_int_equal(mkc_context_add_pack(NULL, path), MKC_E_USAGE);
  assert_int_equal(mkc_context_add_pack(ctx, NULL), MKC_E_USAGE);
  assert_int_equal(mkc_context_add_pack_memory(ctx, NULL, 1), MKC_E_USAGE);
  mkc_context_destroy(ctx);
  remove_dir(dir);
  free(dir);
}

/* ---- the CPU device ---- */

enum { T = 20, D = 16 };

static _Alignas(16) uint16_t values[4][T][D]; /* q, k, v, o */
static float gate[T];

static mkc_tensor channels(uint16_t *data) {
  return (mkc_tensor){data, MKC_BF16, 4, {1, T, 1, D}, {T * D, D, D, 1}};
}

/* Runs simple_gla; the result stays in values[3]. */
static void run(mkc_context *ctx, bool from_pack) {
  mkc_op_options o = toy_options();
  mkc_tensor args[OP_MAX_ARRAYS] = {0};
  mkc_op *op = NULL;
  static const char *const names[] = {"q", "k", "v", "o"};
  o.spec_path = "simple_gla";
  o.dk = o.dv = D;
  assert_int_equal(mkc_op_create(ctx, &o, &op), MKC_OK);
  assert_int_equal(op_source_of(op)->pack != NULL, from_pack);
  mkc_context_destroy(ctx); /* first: the op holds it, and it the pack */
  if (mkc_op_prepare(op)) fail_msg("%s", mkc_last_error());
  for (int i = 0; i < 4; i++) args[mkc_op_arg_index(op, names[i])] = channels(values[i][0]);
  args[mkc_op_arg_index(op, "g")] = (mkc_tensor){gate, MKC_F32, 3, {1, T, 1}, {T, 1, 1}};
  memset(values[3], 0xff, sizeof values[3]);
  if (mkc_op_launch(op, args, mkc_op_arg_count(op), NULL, 0, NULL))
    fail_msg("%s", mkc_last_error());
  mkc_op_destroy(op);
}

static struct buf real_pack(void) {
  const struct embedded_file *spec = embedded_find("specs/simple_gla.lua");
  const struct gen_config config = {.arch = "sm_90a", .dtype = MKC_BF16, .dk = D, .dv = D};
  const struct pack_op op = {.dtype = MKC_BF16, .dk = D, .dv = D};
  struct pack_writer *w = pack_writer_create();
  struct op_source source;
  struct buf out = {0};
  struct error err = {0};
  unsigned char digest[SHA256_BYTES];
  sha256(spec->data, spec->len, digest);
  assert_int_equal(gen_op(spec->name, spec->data, spec->len, &config, &source, &err), MKC_OK);
  assert_int_equal(pack_writer_spec(w, "simple_gla", digest, NULL, 0), 0);
  assert_int_equal(pack_writer_code(w, &op, PACK_SOURCE, &source, NULL, 0, &err), MKC_OK);
  assert_int_equal(pack_writer_write(w, 0, &out, &err), MKC_OK);
  op_source_finish(&source);
  pack_writer_destroy(w);
  return out;
}

static void test_runs_on_the_cpu_device(void **state) {
  (void)state;
  uint16_t generated[T][D];
  for (int t = 0; t < T; t++) {
    gate[t] = -0.25f;
    for (int i = 0; i < D; i++)
      for (int x = 0; x < 3; x++)
        values[x][t][i] = (uint16_t)(0x3f00 + (t * 7 + i * 5 + x * 3) % 64);
  }
  struct buf pack = real_pack();
  run(new_context(NULL), false);
  memcpy(generated, values[3], sizeof generated);
  run(new_context(&pack), true);
  assert_memory_equal(generated, values[3], sizeof generated);
  assert_int_not_equal(values[3][0][0], 0xffff);
  buf_finish(&pack);
}

/* ---- a GPU ---- */

static const struct buf *shared; /* with the children */

static void prepare_on_gpu(FILE *out) {
  mkc_context *ctx = new_context(shared);
  mkc_op_options o = toy_options();
  mkc_op *op = NULL;
  o.device = "cuda:1";
  mkc_status st = mkc_op_create(ctx, &o, &op);
  if (!st) fprintf(out, "%s ", op_source_of(op)->arch);
  if (!st) st = mkc_op_prepare(op);
  fprintf(out, "%d %s", (int)st, st ? mkc_last_error() : "");
  mkc_op_destroy(op);
  mkc_context_destroy(ctx);
}

static void expect_on_gpu(const char *expected) {
  char *text = child_output(prepare_on_gpu);
  assert_contains(text, expected);
  free(text);
}

static void test_runs_without_nvrtc(void **state) {
  shared = *state;
  char *fake = build_path("tests/libfake_cuda.so");
  setenv("MASKC_LIBCUDA", fake, 1);
  setenv("MASKC_NVRTC_PATH", "/nonexistent", 1);
  setenv("FAKE_CUDA_PARAM_BYTES", "120", 1);
  expect_on_gpu("sm_90a 0 ");
  setenv("FAKE_CUDA_ARCH", "86", 1);
  expect_on_gpu("sm_80 0 ");
  setenv("FAKE_CUDA_ARCH", "120", 1); /* PTX, which has to begin like PTX */
  expect_on_gpu("sm_80 0 ");
  setenv("FAKE_CUDA_SMEM", "40000", 1); /* too little for any code of it */
  expect_on_gpu("1003 no spec named \"toy\"");
  unsetenv("FAKE_CUDA_SMEM");
  unsetenv("FAKE_CUDA_ARCH");
  setenv("FAKE_CUDA_FAIL", "cuLibraryLoadData:200", 1);
  setenv("FAKE_CUDA_VERSION", "12040", 1);
  expect_on_gpu(
      "the driver is one of CUDA 12.4, older than NVRTC 13.0, which made the code: update "
      "the NVIDIA driver, or build the pack with an NVRTC of CUDA 12");
  unsetenv("FAKE_CUDA_FAIL");
  free(fake);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_by_name_or_text),
      cmocka_unit_test(test_by_file),
      cmocka_unit_test(test_settings),
      cmocka_unit_test(test_then_the_generator),
      cmocka_unit_test(test_the_first_pack_that_has_it),
      cmocka_unit_test(test_damage_is_no_miss),
      cmocka_unit_test(test_adding),
      cmocka_unit_test(test_runs_on_the_cpu_device),
      cmocka_unit_test(test_runs_without_nvrtc),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
