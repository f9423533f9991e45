/* SPDX-License-Identifier: MIT
 * pack_target.c - see pack_target.h.
 *
 * Rules of NVIDIA's compute capabilities: plain code ("sm_86") runs on its major at its minor or a
 * higher one; with an a ("sm_90a") on that capability alone; with an f ("sm_100f") on its family,
 * its major from that minor on. PTX is compiled by the driver: plain PTX for anything newer, the
 * others as their code.
 */
#include "pack_target.h"

#include <stdlib.h>

enum {
  RANK_ANY = 1,
  RANK_PTX = 1000,
  RANK_MINOR = 2000,
  RANK_FAMILY = 3000,
  RANK_OWN = 4000,
  RANK_EXACT = 5000
};

struct arch {
  int capability; /* 90: 9.0; 121: 12.1 */
  char suffix;    /* 0, 'a', 'f' */
};

static bool parse(const char *text, struct arch *ret) {
  if (strncmp(text, "sm_", 3) != 0) return false;
  char *end;
  const long n = strtol(text + 3, &end, 10);
  if (end == text + 3 || text[3] == '-' || n < 10 || n > 999) return false;
  *ret = (struct arch){(int)n, *end};
  return !*end || ((*end == 'a' || *end == 'f') && !end[1]);
}

static bool runs(const struct arch *code, bool ptx, const struct arch *gpu) {
  const int at = gpu->capability;
  const bool same_major = at / 10 == code->capability / 10;
  switch (code->suffix) {
  case 'a': return at == code->capability;
  case 'f': return same_major && at >= code->capability;
  default: return (ptx || same_major) && at >= code->capability;
  }
}

static int rank_on_gpu(const char *target, const char *arch, bool ptx) {
  struct arch code, gpu;
  if (!parse(arch, &code) || !parse(target, &gpu) || !runs(&code, ptx, &gpu)) return 0;
  if (ptx) return RANK_PTX + code.capability;
  if (!strcmp(target, arch)) return RANK_EXACT;
  if (code.suffix == 'a') return RANK_OWN;
  return (code.suffix == 'f' ? RANK_FAMILY : RANK_MINOR) + code.capability;
}

int pack_target_rank(const struct pack_target *target, const struct pack_code *code) {
  const char *arch = code->source.arch;
  if (target->host) return !strcmp(arch, target->arch) ? RANK_EXACT : target->any ? RANK_ANY : 0;
  if (code->kind == PACK_SOURCE) return 0;
  if (target->smem_bytes && code->source.smem_bytes > target->smem_bytes) return 0;
  return rank_on_gpu(target->arch, arch, code->kind == PACK_PTX);
}
