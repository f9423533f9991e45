/* SPDX-License-Identifier: MIT
 * Opening libcuda: what is said when it is absent, broken, too old or sees no GPU; and the table.
 * The table is one for the process, so each case runs in a child.
 */
#define _GNU_SOURCE
#include "support.h"

#include "child.h"
#include "device_info.h"
#include "driver.h"

static char *fake; /* the fake library's path */

static void try_open(FILE *out) {
  struct error err = {0};
  const struct driver *cu;
  const mkc_status st = driver_open(&cu, &err);
  fprintf(out, "%d %s", (int)st, error_text(&err));
  error_finish(&err);
}

static void expect(void (*body)(FILE *), const char *library, const char *part) {
  setenv("MASKC_LIBCUDA", library, 1);
  char *text = child_output(body);
  assert_contains(text, part);
  free(text);
}

static void test_absent(void **state) {
  (void)state;
  expect(try_open, "/nonexistent/libcuda.so.1", "3003 no CUDA driver: MASKC_LIBCUDA=/nonexistent");
  expect(try_open, "/dev/null", "3003 no CUDA driver: MASKC_LIBCUDA=/dev/null");
}

/* Without MASKC_LIBCUDA, on a machine that has no driver. */
static void test_absent_by_default(void **state) {
  (void)state;
  unsetenv("MASKC_LIBCUDA");
  char *text = child_output(try_open);
  const bool has_driver = text[0] == '0' || strstr(text, "sees no GPU") || strstr(text, "cuInit");
  if (!has_driver)
    assert_contains(text, "3003 no CUDA driver: libcuda.so.1 not found (install the NVIDIA driver, "
                          "or use --device cpu)");
  free(text);
}

static void test_not_a_driver(void **state) {
  (void)state;
  expect(try_open, "libm.so.6", "has no cuInit: maskc needs a driver of CUDA 12.0 or later");
}

static void test_too_old(void **state) {
  (void)state;
  char *old = build_path("tests/libfake_cuda_old.so");
  expect(try_open, old,
         "has no cuLibraryLoadData: maskc needs a driver of CUDA 12.0 or later (update the NVIDIA "
         "driver, or use --device cpu)");
  free(old);
}

static void test_opens(void **state) {
  (void)state;
  expect(try_open, fake, "0 ");
}

static void test_init_fails(void **state) {
  (void)state;
  setenv("FAKE_CUDA_FAIL", "cuInit:100", 1);
  expect(try_open, fake, "sees no GPU");
  setenv("FAKE_CUDA_FAIL", "cuInit:34", 1);
  expect(try_open, fake, "stub");
  setenv("FAKE_CUDA_FAIL", "cuInit:719", 1);
  expect(try_open, fake, "cuInit: CUDA_ERROR_LAUNCH_FAILED (a text of the driver)");
  unsetenv("FAKE_CUDA_FAIL");
}

static void open_in_forked_child(FILE *out) {
  struct error err = {0};
  const struct driver *cu;
  if (driver_open(&cu, &err)) return;
  const pid_t pid = fork();
  if (pid == 0) {
    try_open(out);
    fflush(out);
    _exit(0);
  }
  waitpid(pid, NULL, 0);
}

static void test_fork(void **state) {
  (void)state;
  expect(open_in_forked_child, fake, "3003 CUDA was started before fork()");
}

static void print_gpus(FILE *out) {
  struct error err = {0};
  struct gpu_info gpu;
  int count = 0;
  gpu_count(&count, &err);
  fprintf(out, "%d of %d;", count, driver_version());
  if (gpu_info_get(1, &gpu, &err) == MKC_OK)
    fprintf(out, "%s %d.%d %s %d %d %zu;", gpu.name, gpu.major, gpu.minor, gpu.arch, gpu.sms,
            gpu.smem_bytes, gpu.memory_bytes >> 30);
  gpu_info_get(2, &gpu, &err);
  fprintf(out, "%s", error_text(&err));
  error_finish(&err);
}

static void test_gpus(void **state) {
  (void)state;
  expect(print_gpus, fake,
         "2 of 13000;Fake 1 9.0 sm_90a 132 232448 80;no such device: cuda:2 (there are 2)");
}

static void test_errors(void **state) {
  (void)state;
  setenv("FAKE_CUDA_FAIL", "cuMemFree_v2:2", 1);
  setenv("MASKC_LIBCUDA", fake, 1);
  const struct driver *cu;
  struct error err = {0};
  assert_int_equal(driver_open(&cu, &err), MKC_OK);
  assert_int_equal(driver_error(cu, cu->cuMemFree(0), "cuMemFree", &err), MKC_E_OUT_OF_MEMORY);
  assert_string_equal(error_text(&err),
                      "cuMemFree: CUDA_ERROR_OUT_OF_MEMORY (a text of the driver)");
  assert_int_equal(driver_error(cu, 12345, "cuX", &err), MKC_E_CUDA);
  assert_contains(error_text(&err), "cuX: an unknown error");
  error_finish(&err);
  unsetenv("FAKE_CUDA_FAIL");
}

static void test_arch(void **state) {
  (void)state;
  const struct {
    int major, minor;
    const char *arch;
  } cases[] = {{8, 0, "sm_80"},    {8, 6, "sm_86"},    {8, 9, "sm_89"},  {9, 0, "sm_90a"},
               {10, 0, "sm_100a"}, {10, 3, "sm_103a"}, {12, 0, "sm_120"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char arch[16];
    gpu_arch(cases[i].major, cases[i].minor, arch);
    assert_string_equal(arch, cases[i].arch);
  }
}

static void test_device_parse(void **state) {
  (void)state;
  struct error err = {0};
  int gpu;
  const char *const good[] = {"cpu", "cuda", "cuda:0", "cuda:7"};
  const int gpus[] = {-1, 0, 0, 7};
  for (int i = 0; i < 4; i++) {
    assert_int_equal(device_parse(good[i], &gpu, &err), MKC_OK);
    assert_int_equal(gpu, gpus[i]);
  }
  const char *const bad[] = {"",        "gpu",        "cuda:", "cuda:-1",
                             "cuda:1x", "cuda:99999", "CPU",   "cuda1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(device_parse(bad[i], &gpu, &err), MKC_E_ARGUMENT);
    assert_contains(error_text(&err), "write cpu or cuda:N");
  }
  error_finish(&err);
}

int main(void) {
  fake = build_path("tests/libfake_cuda.so");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_absent),       cmocka_unit_test(test_absent_by_default),
      cmocka_unit_test(test_not_a_driver), cmocka_unit_test(test_too_old),
      cmocka_unit_test(test_opens),        cmocka_unit_test(test_init_fails),
      cmocka_unit_test(test_fork),         cmocka_unit_test(test_gpus),
      cmocka_unit_test(test_arch),         cmocka_unit_test(test_device_parse),
      cmocka_unit_test(test_errors), /* last: it opens the driver in this process */
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  free(fake);
  return failed;
}
