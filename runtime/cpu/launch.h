/* SPDX-License-Identifier: MIT
 * launch.h - runs a compiled kernel's blocks on this thread: one after another, or some of them at
 * once, so that they interleave.
 */
#ifndef MKC_CPU_LAUNCH_H
#define MKC_CPU_LAUNCH_H

#include "../base/error.h"

#ifndef TILE_HOST_RUNTIME
#define TILE_HOST_RUNTIME
#endif
#include "../../templates/tile_host.h"

/* When an asynchronous copy lands: at the wait for it, at its issue, or at either by a dice. */
enum async_landing { ASYNC_LATE, ASYNC_EARLY, ASYNC_RANDOM };

enum { MAX_RESIDENT = 16 }; /* 16,384 threads at most, with 256 KiB of address space each */

struct guard;

struct launch_options {
  enum async_landing async;
  unsigned long long seed;   /* not 0: threads are picked, and copies land, at random */
  int resident;              /* blocks at once, up to MAX_RESIDENT; 0 is 1 */
  const struct guard *guard; /* of the memory that args point to; NULL: there is none */
};

/* The functions that a kernel's object is to be given (tile_host_init). */
const struct tile_host_api *launch_api(void);

/* Blocks 0 to blocks - 1, each with smem_bytes of shared memory; args: kernel->args_bytes bytes.
 * Safe from many threads at once. Errors: MKC_E_CHECK, with the report; MKC_E_OUT_OF_MEMORY;
 * MKC_E_INTERNAL for a kernel that no GPU would launch, or too many resident blocks. */
mkc_status launch_run(const struct tile_kernel *kernel, const void *args, long long blocks,
                      size_t smem_bytes, const struct launch_options *options, struct error *err);

#endif
