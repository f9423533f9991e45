/* SPDX-License-Identifier: MIT
 * fuzz_npy.c - any bytes as a .npy file: parsed in memory, and read from a file as floats.
 *
 * What is accepted must lie inside the bytes: element by element, so that a sanitizer sees it.
 */
#define _GNU_SOURCE /* memfd_create */
#include "fuzz.h"

#include "cli/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_view(const uint8_t *data, size_t size, const struct npy *a) {
  const size_t width = a->type == NPY_FLOAT32 || a->type == NPY_INT32 ? 4 : 8;
  const uint8_t *first = a->data;
  if (a->ndim < 0 || a->ndim > NPY_MAX_DIMS) abort();
  if (first < data || first + a->count * width != data + size) abort();
}

/* The whole reader, on a file of these bytes that has no name. */
static void read_as_floats(const uint8_t *data, size_t size, const struct npy *parsed) {
  char path[64];
  struct npy_floats floats = {0};
  struct error err = {0};
  const int fd = memfd_create("fuzz.npy", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const mkc_status status = npy_read_floats(path, &floats, &err);
  close(fd);
  if (status == MKC_OK) {
    if (floats.count != parsed->count || floats.ndim != parsed->ndim) abort();
    free(floats.values);
  } else if (status != MKC_E_FILE || floats.values) {
    abort();
  }
  error_finish(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct npy a;
  struct error err = {0};
  const mkc_status status = npy_parse("fuzz.npy", data, size, &a, &err);
  if (status == MKC_OK) {
    check_view(data, size, &a);
    read_as_floats(data, size, &a);
  } else if (status != MKC_E_FILE || !strstr(error_text(&err), "fuzz.npy")) {
    abort();
  }
  error_finish(&err);
  return 0;
}
