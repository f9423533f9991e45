/* SPDX-License-Identifier: MIT
 * schedule_scan.h - the two files of the scan schedule to each other.
 */
#ifndef MKC_SCHEDULE_SCAN_H
#define MKC_SCHEDULE_SCAN_H

#include "role.h"

/* The roles of a variant that the scan serves. */
struct scan_roles {
  struct role q, k, v;
};
/* NULL, or what the scan lacks. */
const char *scan_roles_split(const struct branch *b, struct arena *a, struct scan_roles *ret);

/* The inputs over dv that have a tile of their own beside V: those that output reads and, where v
 * is an expression over channels, those of v but the first, which is computed in place. */
void scan_tiles(const struct variant *v, const struct scan_roles *roles, struct leaf_list *ret);

/* Whether output is computed row by row, not channel by channel in registers. */
bool scan_output_by_row(const struct variant *v);

void schedule_scan_slots(struct emission *e); /* schedule_scan_slots.c */

#endif
