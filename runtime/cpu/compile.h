/* SPDX-License-Identifier: MIT
 * compile.h - an emitted source to a shared object, by the system's C compiler.
 */
#ifndef MKC_CPU_COMPILE_H
#define MKC_CPU_COMPILE_H

#include "../base/buf.h"
#include "../base/error.h"
#include "../maskc.h"
#include "process.h"

/* $MASKC_CC (a program, no options), else cc, gcc or clang from PATH. Errors: MKC_E_NO_COMPILER. */
mkc_status host_compiler_find(char ret_path[PROCESS_PATH_MAX], struct error *err);

struct host_job {
  const char *source; /* includes "tile_host.h" */
  const char *header; /* the text of tile_host.h */
  const char *name;   /* of the kernel, for messages */
  mkc_check check;    /* address: with UBSan too where this process has its runtime */
};

/* What decides the object besides the two texts, as one string for a cache key: the compiler (path,
 * size, time) and its options. */
mkc_status host_compile_identity(const struct host_job *job, struct buf *ret, struct error *err);

/* *ret: the object's bytes. Errors: MKC_E_NO_COMPILER, MKC_E_COMPILE (the message ends in the
 * compiler's log), MKC_E_SYSTEM. */
mkc_status host_compile(const struct host_job *job, struct buf *ret, struct error *err);

#endif
