/* SPDX-License-Identifier: MIT
 * target.h - what the planner knows of a GPU architecture, as data.
 */
#ifndef MKC_TARGET_H
#define MKC_TARGET_H

struct target {
  const char *arch; /* "sm_90a" */
  int smem_block;   /* bytes of shared memory a block can have */
  int smem_sm;      /* bytes of shared memory of one SM */
  int registers;    /* 32-bit registers of one SM */
  /* The card that the costs are predicted for; other cards of the architecture keep the ranking. */
  const char *card;
  int sms;
  double copy_gbs;   /* bytes read and written a second by a device-to-device copy, 1e9 */
  double mma_tflops; /* dense bf16 with fp32 accumulation, through mma.sync, 1e12 */
};

const struct target *target_find(const char *arch); /* NULL: unknown */
const struct target *target_at(int index);          /* NULL past the end */

#endif
