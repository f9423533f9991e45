/* SPDX-License-Identifier: MIT
 * backend.h - what a device does for an op: load it, launch it. Two of them: CUDA and the CPU.
 */
#ifndef MKC_BACKEND_H
#define MKC_BACKEND_H

#include "base/error.h"
#include "maskc.h"
#include "source.h"

struct loaded; /* an op in the form one backend launches; each backend defines its own */

struct backend {
  const char *name; /* "cuda", "cpu" */
  /* Compiles (through the context's cache) and loads. Slow. *ret is owned by the caller. */
  mkc_status (*load)(mkc_context *ctx, const struct op_source *src, int device, mkc_check check,
                     struct loaded **ret, struct error *err);
  /* Launches `blocks` blocks with the argument block `args` (op_args_bytes(src) bytes). */
  mkc_status (*launch)(const struct loaded *op, const void *args, long long blocks, void *stream,
                       struct error *err);
  void (*unload)(struct loaded *op); /* NULL is fine */
};

extern const struct backend cuda_backend; /* runtime/cuda.c */
extern const struct backend cpu_backend;  /* runtime/cpu/backend.c */

#endif
