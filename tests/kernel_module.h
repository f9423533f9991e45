/* SPDX-License-Identifier: MIT
 * kernel_module.h - the kernels of a file in tests/kernels, compiled for the CPU device.
 */
#ifndef MKC_TESTS_KERNEL_MODULE_H
#define MKC_TESTS_KERNEL_MODULE_H

#include "support.h"

#include <stdio.h>
#include <stdlib.h>

#include "../gen/gen.h"
#include "../runtime/cpu/compile.h"
#include "../runtime/cpu/module.h"

/* name: "cpu_race", whose lines are cpu_race.k.c's. NULL: failed, and said why on stderr. */
static inline struct module *kernel_module(const char *name, mkc_check check) {
  struct buf source = {0}, object = {0};
  struct error err = {0};
  struct module *module = NULL;
  char file[64];
  snprintf(file, sizeof file, "tests/kernels/%s.k.c", name);
  char *path = source_path(file), *text = read_file(path, NULL);
  buf_printf(&source, "#include \"tile_host.h\"\n#line 1 \"%s.k.c\"\n%s", name, text ? text : "");
  const struct host_job job = {buf_text(&source), embedded_find("templates/tile_host.h")->data,
                               name, check};
  if (!host_compile(&job, &object, &err))
    module_load(object.data, object.len, check != MKC_CHECK_NONE, &module, &err);
  if (!module) fprintf(stderr, "%s: %s\n", path, error_text(&err));
  error_finish(&err);
  buf_finish(&source);
  buf_finish(&object);
  free(text);
  free(path);
  return module;
}

#endif
