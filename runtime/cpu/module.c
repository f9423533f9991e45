/* SPDX-License-Identifier: MIT
 * module.c - dlopen of a compiled object, see module.h.
 */
#include "module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "process.h"

struct module {
  void *handle;
  char dir[PROCESS_PATH_MAX]; /* "": its file is gone */
};

static mkc_status open_file(struct module *m, const char *path, struct error *err) {
  m->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!m->handle)
    return error_set(err, MKC_E_SYSTEM,
                     "cannot load the compiled kernel: %s (if %s is mounted "
                     "noexec, set TMPDIR to another folder)",
                     dlerror(), m->dir);
  int (*init)(const struct tile_host_api *);
  *(void **)&init = dlsym(m->handle, "tile_host_init");
  const int wanted = init ? init(launch_api()) : -1;
  if (!wanted) return MKC_OK;
  return error_set(err, MKC_E_INTERNAL,
                   "the compiled kernel wants version %d of the CPU device, "
                   "which is %d",
                   wanted, TILE_HOST_VERSION);
}

mkc_status module_load(const void *object, size_t len, bool keep, struct module **ret,
                       struct error *err) {
  struct module *m = calloc(1, sizeof *m);
  if (!m) return error_set(err, MKC_E_OUT_OF_MEMORY, "no memory to load a kernel");
  char path[PROCESS_PATH_MAX];
  mkc_status status = scratch_create(m->dir, err);
  if (!status) {
    scratch_path(m->dir, "kernel.so", path);
    status = file_write(path, object, len, err);
  }
  if (!status) status = open_file(m, path, err);
  if (status) {
    module_destroy(m);
    return status;
  }
  if (!keep) {
    scratch_remove(m->dir);
    m->dir[0] = 0;
  }
  *ret = m;
  return MKC_OK;
}

void module_destroy(struct module *m) {
  if (!m) return;
  if (m->handle) dlclose(m->handle);
  scratch_remove(m->dir);
  free(m);
}

const struct tile_kernel *module_kernel(const struct module *m, const char *name) {
  char symbol[128];
  snprintf(symbol, sizeof symbol, "%s_kernel", name);
  return dlsym(m->handle, symbol);
}
