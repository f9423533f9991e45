/* SPDX-License-Identifier: MIT
 * driver.c - opens libcuda once and fills the table. The table is the one global of the library:
 * the driver itself is one for the process.
 */
#define _GNU_SOURCE /* secure_getenv */
#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
  pthread_once_t once;
  struct driver table;
  int version;
  bool forked;    /* this is a child of the process that called cuInit */
  char path[512]; /* what was opened or tried */
  char why[1024]; /* empty: it works */
} the_driver = {.once = PTHREAD_ONCE_INIT};

/* dlsym gives an object pointer; POSIX lets it be a function's, C does not say how. */
static void *symbol_into(void *library, const char *symbol, void *slot) {
  void *address = dlsym(library, symbol);
  memcpy(slot, &address, sizeof address);
  return address;
}

/* NULL, or the name of a function that the library lacks. */
static const char *fill_table(void *library, struct driver *t) {
#define X(function, symbol, parameters) \
  if (!symbol_into(library, symbol, &t->function)) return symbol;
  DRIVER_FUNCTIONS(X)
#undef X
#define X(function, symbol, parameters) symbol_into(library, symbol, &t->function);
  DRIVER_OPTIONAL_FUNCTIONS(X)
#undef X
  return NULL;
}

static const char *result_name(const struct driver *cu, CUresult r) {
  const char *name = NULL;
  return cu->cuGetErrorName(r, &name) == CUDA_SUCCESS && name ? name : "an unknown error";
}

static const char *result_text(const struct driver *cu, CUresult r) {
  const char *text = NULL;
  return cu->cuGetErrorString(r, &text) == CUDA_SUCCESS && text ? text : "no description";
}

#define WHY(...) snprintf(the_driver.why, sizeof the_driver.why, __VA_ARGS__)

static void say_not_found(bool named) {
  const char *detail = dlerror();
  if (named) {
    WHY("no CUDA driver: MASKC_LIBCUDA=%s does not open: %s", the_driver.path,
        detail ? detail : "unknown reason");
  } else if (detail && !strstr(detail, "No such file")) {
    WHY("no CUDA driver: %s", detail); /* it is there, and broken: say how */
  } else {
    WHY("no CUDA driver: libcuda.so.1 not found (install the NVIDIA driver, or use --device cpu)");
  }
}

static void say_init_failed(const struct driver *cu, CUresult r) {
  if (r == CUDA_ERROR_NO_DEVICE) {
    WHY("no CUDA device: the driver (%s) sees no GPU (is CUDA_VISIBLE_DEVICES right? or use "
        "--device cpu)",
        the_driver.path);
  } else if (r == CUDA_ERROR_STUB_LIBRARY) {
    WHY("no CUDA driver: %s is the toolkit's stub, for linking only (install the NVIDIA driver, or "
        "use --device cpu)",
        the_driver.path);
  } else {
    WHY("the CUDA driver (%s) does not start: cuInit: %s (%s)", the_driver.path, result_name(cu, r),
        result_text(cu, r));
  }
}

static void note_fork(void) {
  the_driver.forked = true;
}

static void open_once(void) {
  const char *named = secure_getenv("MASKC_LIBCUDA");
  if (named && !*named) named = NULL;
  snprintf(the_driver.path, sizeof the_driver.path, "%s", named ? named : "libcuda.so.1");
  void *library = dlopen(the_driver.path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    say_not_found(named != NULL);
    return;
  }
  struct driver *cu = &the_driver.table;
  const char *missing = fill_table(library, cu);
  if (missing) {
    WHY("the CUDA driver (%s) has no %s: maskc needs a driver of CUDA 12.0 or later (update the "
        "NVIDIA driver, or use --device cpu)",
        the_driver.path, missing);
    dlclose(library);
    return;
  }
  pthread_atfork(NULL, NULL, note_fork);
  const CUresult r = cu->cuInit(0);
  if (r != CUDA_SUCCESS) say_init_failed(cu, r);
  if (cu->cuDriverGetVersion(&the_driver.version) != CUDA_SUCCESS) the_driver.version = 0;
}

mkc_status driver_open(const struct driver **ret, struct error *err) {
  *ret = NULL;
  pthread_once(&the_driver.once, open_once);
  if (the_driver.why[0]) return error_set(err, MKC_E_NO_DEVICE, "%s", the_driver.why);
  const mkc_status st = driver_check_fork(err);
  if (!st) *ret = &the_driver.table;
  return st;
}

mkc_status driver_check_fork(struct error *err) {
  if (!the_driver.forked) return MKC_OK;
  return error_set(err, MKC_E_NO_DEVICE,
                   "CUDA was started before fork(), and a forked child cannot use it: start the "
                   "child afresh (exec, or multiprocessing's \"spawn\")");
}

int driver_version(void) {
  pthread_once(&the_driver.once, open_once);
  return the_driver.version;
}

const char *driver_path(void) {
  pthread_once(&the_driver.once, open_once);
  return the_driver.path;
}

mkc_status driver_error(const struct driver *cu, CUresult r, const char *call, struct error *err) {
  const mkc_status status = r == CUDA_ERROR_OUT_OF_MEMORY ? MKC_E_OUT_OF_MEMORY : MKC_E_CUDA;
  return error_set(err, status, "%s: %s (%s)", call, result_name(cu, r), result_text(cu, r));
}
