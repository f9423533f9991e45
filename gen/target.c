/* SPDX-License-Identifier: MIT
 * target.c - the table of GPU architectures.
 *
 * Shared memory and registers: CUDA C++ Programming Guide, technical specifications per compute
 * capability. Copy bandwidth: measured where marked *, else about 0.9 of the datasheet's. Matrix
 * rate: the datasheet's; from Hopper on what mma.sync reaches of it, about 0.6. They only rank the
 * candidates of one op on one card.
 */
#include "target.h"

#include <string.h>

enum { KIB = 1024 };

static const struct target targets[] = {
    {"sm_80", 163 * KIB, 164 * KIB, 65536, "A100 SXM 80GB", 108, 1830, 312},
    {"sm_86", 99 * KIB, 100 * KIB, 65536, "RTX 3090", 82, 840, 71},
    {"sm_87", 163 * KIB, 164 * KIB, 65536, "Jetson AGX Orin", 16, 180, 64},
    {"sm_89", 99 * KIB, 100 * KIB, 65536, "RTX 4090", 128, 900, 165},
    {"sm_90", 227 * KIB, 228 * KIB, 65536, "H100 SXM 80GB", 132, 2970 /* * */, 600},
    {"sm_90a", 227 * KIB, 228 * KIB, 65536, "H100 SXM 80GB", 132, 2970 /* * */, 600},
    {"sm_100a", 227 * KIB, 228 * KIB, 65536, "B200", 148, 7200, 600},
    {"sm_103a", 227 * KIB, 228 * KIB, 65536, "B300", 148, 7200, 600},
    {"sm_110", 227 * KIB, 228 * KIB, 65536, "Jetson Thor", 20, 240, 120},
    {"sm_120", 99 * KIB, 100 * KIB, 65536, "RTX 5090", 170, 1610, 210},
    {"sm_121", 99 * KIB, 100 * KIB, 65536, "GB10", 48, 240, 60},
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
