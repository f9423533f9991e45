/* SPDX-License-Identifier: MIT
 * symbol.h - from an address in a loaded kernel to a line of its source.
 */
#ifndef MKC_CPU_SYMBOL_H
#define MKC_CPU_SYMBOL_H

#include "../base/buf.h"

/* Appends where the call that returns to pc stands: "scan.k.c:146", and when that is in an inlined
 * function of the kernel "tiles.k.c:47 (from scan.k.c:395)". What tile_host.h has inlined is
 * skipped. Asks addr2line, of binutils; without it, or without the object's file, appends the
 * offset. */
void symbol_print(const void *pc, struct buf *out);

#endif
