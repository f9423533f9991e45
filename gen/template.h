/* SPDX-License-Identifier: MIT
 * template.h - renders a kernel template.
 */
#ifndef MKC_TEMPLATE_H
#define MKC_TEMPLATE_H

#include "../runtime/base/alloc.h"
#include "../runtime/base/error.h"

/* template_name: an embedded file, "templates/scan.k.c". slots: Lua text that returns a table,
 * what gen/emit.c writes. a: what the engine works in. *ret is the kernel source, to free().
 * Any error but MKC_E_OUT_OF_MEMORY is a bug of ours: MKC_E_INTERNAL with the template's line. */
mkc_status template_render(const char *template_name, const char *slots, const struct allocator *a,
                           char **ret, struct error *err);

/* The same for any text; `name` goes into #line directives and messages. */
mkc_status template_render_text(const char *name, const char *text, const char *vocabulary,
                                const char *slots, const struct allocator *a, char **ret,
                                struct error *err);

#endif
