/* SPDX-License-Identifier: MIT
 * smem.c - a block's shared memory, see smem.h.
 *
 *   pool: | red zone | array | red zone | array | ... | red zone |
 */
#include "smem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

enum { PHASE = 1024, RED_ZONE = 64, RED_BYTE = 0xA5, NAN_BYTE = 0xFF };

bool smem_init(struct smem *s, size_t limit) {
  *s = (struct smem){.limit = limit};
  s->pool_bytes = (limit + PHASE - 1) / PHASE * PHASE + (SMEM_MAX_ARRAYS + 1) * 2 * (size_t)PHASE;
  s->pool = aligned_alloc(PHASE, s->pool_bytes);
  return s->pool != NULL;
}

void smem_finish(struct smem *s, const struct asan *asan) {
  if (s->pool && asan->unpoison) asan->unpoison(s->pool, s->pool_bytes);
  free(s->pool);
}

void smem_reset(struct smem *s, const struct asan *asan) {
  s->narrays = 0;
  s->used = 0;
  if (asan->poison) asan->poison(s->pool, s->pool_bytes);
}

static size_t align_up(size_t x, size_t align) {
  return (x + align - 1) / align * align;
}

/* Room in the pool, with the red zone before it filled. */
static struct smem_array *place(struct machine *m, const char *name, size_t offset, size_t bytes,
                                size_t element_bytes) {
  struct smem *s = &m->block->smem;
  struct smem_array *a = &s->arrays[s->narrays++];
  const size_t at = align_up(s->used + RED_ZONE, PHASE) + offset % PHASE, end = at + bytes;
  *a = (struct smem_array){name, offset, bytes, element_bytes, s->pool + at};
  if (m->asan.unpoison) {
    m->asan.unpoison(a->data, bytes);
  } else {
    memset(s->pool + s->used, RED_BYTE, at - s->used);
    memset(s->pool + end, RED_BYTE, RED_ZONE);
  }
  memset(a->data, NAN_BYTE, bytes);
  s->used = end;
  return a;
}

static bool red(const char *from, const char *to) {
  for (; from < to; from++)
    if ((unsigned char)*from != RED_BYTE) return false;
  return true;
}

const struct smem_array *smem_damaged(const struct smem *s, const struct asan *asan) {
  if (asan->poison) return NULL;
  for (int i = 0; i < s->narrays; i++) {
    const struct smem_array *a = &s->arrays[i];
    const char *end = a->data + a->bytes;
    if (!red(end, i + 1 < s->narrays ? s->arrays[i + 1].data : end + RED_ZONE)) return a;
  }
  return NULL;
}

const struct smem_array *smem_holding(const struct smem *s, const void *p, size_t bytes) {
  const uintptr_t at = (uintptr_t)p;
  for (int i = 0; i < s->narrays; i++) {
    const struct smem_array *a = &s->arrays[i];
    const uintptr_t first = (uintptr_t)a->data;
    if (at >= first && at - first < a->bytes) return a->bytes - (at - first) >= bytes ? a : NULL;
  }
  return NULL;
}

/* ---- the vocabulary ---- */

void host_smem_begin(unsigned long long bytes, const struct tile_site *at) {
  struct machine *m = machine_current();
  const size_t limit = m->block->smem.limit;
  if (bytes > limit)
    machine_fail(m, at, "the kernel wants %llu bytes of shared memory, the launch gives %zu", bytes,
                 limit);
}

void *host_smem_array(unsigned long long offset, unsigned long long count,
                      unsigned long long element_bytes, const char *name,
                      const struct tile_site *at) {
  const unsigned long long bytes = count * element_bytes;
  struct machine *m = machine_current();
  struct smem *s = &m->block->smem;
  for (int i = 0; i < s->narrays; i++) { /* another thread has declared it */
    const struct smem_array *a = &s->arrays[i];
    if (a->offset == offset && a->bytes == bytes && !strcmp(a->name, name)) return a->data;
  }
  if (offset > s->limit || bytes > s->limit - offset)
    machine_fail(m, at,
                 "shared array %s, bytes %llu to %llu, ends past the %zu bytes of the launch", name,
                 offset, offset + bytes, s->limit);
  for (int i = 0; i < s->narrays; i++) {
    const struct smem_array *a = &s->arrays[i];
    if (offset < a->offset + a->bytes && a->offset < offset + bytes)
      machine_fail(m, at, "shared array %s, bytes %llu to %llu, overlaps %s, bytes %zu to %zu",
                   name, offset, offset + bytes, a->name, a->offset, a->offset + a->bytes);
  }
  if (s->narrays == SMEM_MAX_ARRAYS)
    machine_fail(m, at, "more than %d shared arrays", SMEM_MAX_ARRAYS);
  return place(m, name, offset, bytes, element_bytes)->data;
}
