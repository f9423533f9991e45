/* SPDX-License-Identifier: MIT
 * module.h - a compiled object in this process: its kernels by name.
 */
#ifndef MKC_CPU_MODULE_H
#define MKC_CPU_MODULE_H

#include <stdbool.h>
#include <stddef.h>

#include "../base/error.h"
#include "launch.h"

struct module;

/* object: the bytes of a shared object, which host_compile made. keep: its file stays until
 * module_destroy, where a sanitizer reads lines of code from it. */
mkc_status module_load(const void *object, size_t len, bool keep, struct module **ret,
                       struct error *err);
void module_destroy(struct module *m); /* NULL is fine */

/* NULL: it has no such kernel. Owned by the module. */
const struct tile_kernel *module_kernel(const struct module *m, const char *name);

#endif
