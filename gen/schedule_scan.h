/* SPDX-License-Identifier: MIT
 * schedule_scan.h - the two files of the scan schedule to each other.
 */
#ifndef MKC_SCHEDULE_SCAN_H
#define MKC_SCHEDULE_SCAN_H

#include "plan.h"

void schedule_scan_slots(struct emission *e); /* schedule_scan_slots.c */

#endif
