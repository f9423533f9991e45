/* SPDX-License-Identifier: MIT
 * smem.h - a block's shared memory. Each TILE_SMEM array lies by itself, between red zones, at its
 * own offset modulo 1024 (the phase of the GPU's swizzles), filled with NaN until it is written.
 *
 * The red zones are poisoned where AddressSanitizer is loaded; elsewhere they hold a pattern that
 * is looked at when the block ends.
 */
#ifndef MKC_CPU_SMEM_H
#define MKC_CPU_SMEM_H

#include <stdbool.h>
#include <stddef.h>

#include "asan.h"

enum { SMEM_MAX_ARRAYS = 32 };

struct smem_array {
  const char *name;
  size_t offset, bytes, element_bytes; /* as declared */
  char *data;
};

struct smem {
  size_t limit; /* bytes that the launch asked for */
  char *pool;
  size_t pool_bytes, used;
  struct smem_array arrays[SMEM_MAX_ARRAYS];
  int narrays;
};

bool smem_init(struct smem *s, size_t limit); /* false: out of memory */
void smem_finish(struct smem *s, const struct asan *asan);

/* Before a block: no arrays. */
void smem_reset(struct smem *s, const struct asan *asan);

/* After a block: the array before the first damaged red zone, or NULL. */
const struct smem_array *smem_damaged(const struct smem *s, const struct asan *asan);

/* The array that holds these bytes, all of them, or NULL. */
const struct smem_array *smem_holding(const struct smem *s, const void *p, size_t bytes);

#endif
