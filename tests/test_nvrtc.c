/* SPDX-License-Identifier: MIT
 * Finding NVRTC and compiling with it. Skipped where there is none.
 */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nvrtc.h"

static const char kernel[] = "extern \"C\" __global__ void k(float *x) {\n"
                             "  x[threadIdx.x] = 2.0f * x[threadIdx.x];\n"
                             "}\n";

static struct nvrtc *nvrtc; /* NULL: this machine has none */

static int setup(void **state) {
  (void)state;
  struct error err = {0};
  struct nvrtc_location location;
  if (nvrtc_locate(&location, &err) || nvrtc_open(&location, &nvrtc, &err))
    print_message("no NVRTC here, its tests are skipped: %s\n", error_text(&err));
  else
    print_message("NVRTC: %s, %s\n", location.path, location.identity);
  error_finish(&err);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  nvrtc_close(nvrtc);
  return 0;
}

static mkc_status compile(const char *source, const char *arch, enum nvrtc_kind kind,
                          struct nvrtc_result *ret, struct error *err) {
  const struct nvrtc_job job = {.source = source, .arch = arch, .kind = kind, .verbose = true};
  return nvrtc_compile(nvrtc, &job, ret, err);
}

static void test_cubin(void **state) {
  (void)state;
  if (!nvrtc) skip();
  const char *const archs[] = {"sm_80", "sm_90a"};
  for (int i = 0; i < 2; i++) {
    struct error err = {0};
    struct nvrtc_result r, again;
    assert_int_equal(compile(kernel, archs[i], NVRTC_CUBIN, &r, &err), MKC_OK);
    assert_memory_equal(r.code, "\177ELF", 4);
    assert_contains(r.log, "registers");
    assert_contains(r.log, "0 bytes spill stores");
    assert_int_equal(compile(kernel, archs[i], NVRTC_CUBIN, &again, &err), MKC_OK);
    assert_int_equal(again.len, r.len);
    assert_memory_equal(again.code, r.code, r.len);
    nvrtc_result_finish(&r);
    nvrtc_result_finish(&again);
  }
}

static void test_ptx(void **state) {
  (void)state;
  if (!nvrtc) skip();
  struct error err = {0};
  struct nvrtc_result r;
  assert_int_equal(compile(kernel, "sm_90a", NVRTC_PTX, &r, &err), MKC_OK);
  assert_int_equal(strlen((const char *)r.code) + 1, r.len);
  assert_contains((const char *)r.code, ".target sm_90a");
  assert_contains((const char *)r.code, ".entry k(");
  nvrtc_result_finish(&r);
}

static void test_compile_error(void **state) {
  (void)state;
  if (!nvrtc) skip();
  struct error err = {0};
  struct nvrtc_result r;
  const char *source = "#line 42 \"specs/mine.lua\"\n"
                       "extern \"C\" __global__ void k(float *x) { *x = nonsense; }\n";
  assert_int_equal(compile(source, "sm_80", NVRTC_CUBIN, &r, &err), MKC_E_COMPILE);
  assert_contains(error_text(&err), "specs/mine.lua(42): error");
  assert_contains(error_text(&err), "nonsense");
  assert_null(r.code);
  error_finish(&err);
}

static void test_warning_in_log(void **state) {
  (void)state;
  if (!nvrtc) skip();
  struct error err = {0};
  struct nvrtc_result r;
  const char *source = "#line 7 \"a.k.c\"\n"
                       "extern \"C\" __global__ void k(float *x) { int unused; *x = 1; }\n";
  assert_int_equal(compile(source, "sm_80", NVRTC_CUBIN, &r, &err), MKC_OK);
  assert_contains(r.log, "a.k.c(7): warning");
  nvrtc_result_finish(&r);
}

static void test_architectures(void **state) {
  (void)state;
  if (!nvrtc) skip();
  const char *const bad[] = {"sm_35",  "sm_999", "sm_80a",   "sm_",   "gfx90a",      "",
                             "sm_90x", "sm_-80", "sm_90a80", "SM_80", "sm_80 --help"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct error err = {0};
    struct nvrtc_result r;
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", bad[i]);
    compile(kernel, bad[i], NVRTC_CUBIN, &r, &err);
    assert_contains(error_text(&err), quoted);
    assert_int_equal(err.status, MKC_E_ARCHITECTURE);
    assert_contains(error_text(&err), quoted);
    assert_contains(error_text(&err), "sm_80 sm_86");
    error_finish(&err);
  }
}

/* ---- an NVRTC that will not do, which fake_libnvrtc.c plays ---- */

static mkc_status open_fake(struct nvrtc **ret, struct error *err) {
  struct nvrtc_location location = {.identity = "fake"};
  char *path = build_path("tests/libfake_nvrtc.so");
  snprintf(location.path, sizeof location.path, "%s", path);
  free(path);
  return nvrtc_open(&location, ret, err);
}

static void test_too_old(void **state) {
  (void)state;
  struct error err = {0};
  struct nvrtc *n;
  setenv("FAKE_NVRTC_VERSION", "11.8", 1);
  assert_int_equal(open_fake(&n, &err), MKC_E_NO_NVRTC);
  assert_contains(error_text(&err), "libfake_nvrtc.so is NVRTC 11.8: maskc needs 12.0 or later");
  assert_contains(error_text(&err), "pip install nvidia-cuda-nvrtc");
  assert_null(n);
  error_finish(&err);
  setenv("FAKE_NVRTC_VERSION", "12.0", 1);
  assert_int_equal(open_fake(&n, &err), MKC_OK);
  nvrtc_close(n);
  unsetenv("FAKE_NVRTC_VERSION");
}

/* NVRTC itself opens; that it lacks the library of built-in functions shows at a compile. */
static void expect_failure(const char *result, mkc_status status, const char *part) {
  const struct nvrtc_job job = {.source = kernel, .arch = "sm_80", .kind = NVRTC_CUBIN};
  struct error err = {0};
  struct nvrtc_result r;
  struct nvrtc *n;
  assert_int_equal(open_fake(&n, &err), MKC_OK);
  setenv("FAKE_NVRTC_FAIL", result, 1);
  assert_int_equal(nvrtc_compile(n, &job, &r, &err), status);
  unsetenv("FAKE_NVRTC_FAIL");
  assert_contains(error_text(&err), part);
  assert_null(r.code);
  error_finish(&err);
  nvrtc_close(n);
}

static void test_failures_of_a_compile(void **state) {
  (void)state;
  expect_failure("7", MKC_E_NO_NVRTC,
                 "it found no libnvrtc-builtins.so.13.0, which belongs in the same directory");
  expect_failure("7", MKC_E_NO_NVRTC, "install NVRTC again");
  expect_failure("7", MKC_E_NO_NVRTC, "a line of NVRTC's log");
  expect_failure("1", MKC_E_OUT_OF_MEMORY, "NVRTC 13.0 ran out of memory");
  expect_failure("6", MKC_E_COMPILE, "a line of NVRTC's log");
}

/* ---- finding it ---- */

static char *copy_of(const char *text) {
  return text ? strdup(text) : NULL;
}

static char *saved; /* MASKC_NVRTC_PATH as the test was given it */

static int save_path(void **state) {
  (void)state;
  saved = copy_of(getenv("MASKC_NVRTC_PATH"));
  return 0;
}

static int restore_path(void **state) {
  (void)state;
  if (saved)
    setenv("MASKC_NVRTC_PATH", saved, 1);
  else
    unsetenv("MASKC_NVRTC_PATH");
  free(saved);
  return 0;
}

/* It is used exclusively: what the machine has elsewhere does not stand in for it. */
static void test_path_that_is_not_there(void **state) {
  (void)state;
  struct error err = {0};
  struct nvrtc_location location;
  char *empty = temp_dir();
  setenv("MASKC_NVRTC_PATH", "/nonexistent", 1);
  assert_int_equal(nvrtc_locate(&location, &err), MKC_E_NO_NVRTC);
  assert_contains(error_text(&err), "MASKC_NVRTC_PATH=/nonexistent: No such file");
  assert_contains(error_text(&err), "pip install nvidia-cuda-nvrtc");
  setenv("MASKC_NVRTC_PATH", empty, 1);
  assert_int_equal(nvrtc_locate(&location, &err), MKC_E_NO_NVRTC);
  assert_contains(error_text(&err), "holds no libnvrtc.so.13");
  error_finish(&err);
  remove_dir(empty);
  free(empty);
}

static void test_path_that_is_no_library(void **state) {
  (void)state;
  struct error err = {0};
  struct nvrtc_location location;
  struct nvrtc *n;
  char *dir = temp_dir(), path[4200];
  snprintf(path, sizeof path, "%s/text", dir);
  assert_true(write_file(path, "abc", 3));
  setenv("MASKC_NVRTC_PATH", path, 1);
  assert_int_equal(nvrtc_locate(&location, &err), MKC_OK);
  assert_string_equal(location.identity, /* no build id: the SHA-256 of "abc" */
                      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_int_equal(nvrtc_open(&location, &n, &err), MKC_E_NO_NVRTC);
  assert_contains(error_text(&err), "NVRTC does not open");
  setenv("MASKC_NVRTC_PATH", "/lib/x86_64-linux-gnu/libm.so.6", 1);
  if (nvrtc_locate(&location, &err) == MKC_OK) {
    assert_int_equal(nvrtc_open(&location, &n, &err), MKC_E_NO_NVRTC);
    assert_contains(error_text(&err), "it has no nvrtcGetErrorString");
  }
  assert_null(n);
  error_finish(&err);
  remove_dir(dir);
  free(dir);
}

static void test_path_to_directory_and_file(void **state) {
  (void)state;
  if (!nvrtc) skip();
  struct error err = {0};
  struct nvrtc_location real, linked, file;
  char *dir = temp_dir(), path[4200];
  assert_int_equal(nvrtc_locate(&real, &err), MKC_OK);
  snprintf(path, sizeof path, "%s/libnvrtc.so.12", dir);
  assert_int_equal(symlink(real.path, path), 0);
  setenv("MASKC_NVRTC_PATH", dir, 1);
  assert_int_equal(nvrtc_locate(&linked, &err), MKC_OK);
  assert_string_equal(linked.path, path);
  assert_string_equal(linked.identity, real.identity);
  setenv("MASKC_NVRTC_PATH", path, 1);
  assert_int_equal(nvrtc_locate(&file, &err), MKC_OK);
  assert_string_equal(file.path, path);
  remove_dir(dir);
  free(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cubin),
      cmocka_unit_test(test_ptx),
      cmocka_unit_test(test_compile_error),
      cmocka_unit_test(test_warning_in_log),
      cmocka_unit_test(test_architectures),
      cmocka_unit_test(test_too_old),
      cmocka_unit_test(test_failures_of_a_compile),
      cmocka_unit_test_setup_teardown(test_path_that_is_not_there, save_path, restore_path),
      cmocka_unit_test_setup_teardown(test_path_that_is_no_library, save_path, restore_path),
      cmocka_unit_test_setup_teardown(test_path_to_directory_and_file, save_path, restore_path),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
