/* SPDX-License-Identifier: MIT
 * pack_target.h - which compiled code runs on which GPU, and which of it is the best.
 */
#ifndef MKC_PACK_TARGET_H
#define MKC_PACK_TARGET_H

#include <stdbool.h>

#include "pack_record.h"

struct pack_target {
  char arch[16];  /* "sm_90a": what code has to run on */
  bool host;      /* the CPU device: takes source text */
  bool any;       /* of the host: text for any architecture will do */
  int smem_bytes; /* a block can have; 0: not known */
};

/* How well the code suits, the more the better; 0: it does not run there. In this order: made for
 * this very architecture; for this compute capability with its own features (sm_90a); for its
 * family (sm_100f); for the same major and the nearest lower minor; PTX, which the driver compiles.
 */
int pack_target_rank(const struct pack_target *target, const struct pack_code *code);

#endif
