/* SPDX-License-Identifier: MIT
 * schedule_scan.h - the two files of the scan schedule to each other.
 */
#ifndef MKC_SCHEDULE_SCAN_H
#define MKC_SCHEDULE_SCAN_H

#include "emit.h"

enum { SCAN_MAX_TERMS = 16 };

/* A role as the kernel serves it: scalars of a token times an input over channels. The scalars of k
 * and v become one write weight, those of q a read weight:
 *
 *   v = dt * input { "x", dv }     ->     x, { dt }
 */
struct scan_role {
  const struct leaf *leaf; /* over dk or dv */
  int nterms;
  struct expr_term terms[SCAN_MAX_TERMS];
};

/* False: e is no such product. */
bool scan_role_split(const struct expr *e, enum axis axis, struct scan_role *ret);

/* The inputs over dv that output reads, but that of v: each is a tile of its own beside V. */
void scan_output_tiles(const struct variant *v, struct leaf_list *ret);

void schedule_scan_slots(struct emission *e); /* schedule_scan_slots.c */

#endif
