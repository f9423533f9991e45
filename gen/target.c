/* SPDX-License-Identifier: MIT
 * target.c - the table of GPU architectures.
 *
 * Shared memory and registers: CUDA C++ Programming Guide, technical specifications per compute
 * capability. Copy bandwidth: measured where marked *, else 0.9 of the datasheet's.
 */
#include "target.h"

#include <string.h>

enum { KIB = 1024 };

static const struct target targets[] = {
    {"sm_80", 163 * KIB, 164 * KIB, 65536, "A100 SXM 80GB", 108, 1830, 312},
    {"sm_86", 99 * KIB, 100 * KIB, 65536, "RTX 3090", 82, 840, 71},
    {"sm_89", 99 * KIB, 100 * KIB, 65536, "RTX 4090", 128, 900, 165},
    {"sm_90", 227 * KIB, 228 * KIB, 65536, "H100 SXM 80GB", 132, 2970 /* * */, 600},
    {"sm_90a", 227 * KIB, 228 * KIB, 65536, "H100 SXM 80GB", 132, 2970 /* * */, 600},
    {"sm_100a", 227 * KIB, 228 * KIB, 65536, "B200", 148, 7200, 600},
    {"sm_120", 99 * KIB, 100 * KIB, 65536, "RTX 5090", 170, 1610, 210},
};

enum { NTARGETS = sizeof targets / sizeof *targets };

const struct target *target_at(int index) {
  return index >= 0 && index < NTARGETS ? &targets[index] : 0;
}

const struct target *target_find(const char *arch) {
  for (int i = 0; i < NTARGETS; i++)
    if (!strcmp(targets[i].arch, arch)) return &targets[i];
  return 0;
}
