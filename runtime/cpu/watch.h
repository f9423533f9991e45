/* SPDX-License-Identifier: MIT
 * watch.h - for the worker of a checked run: ends a launch of which a thread computes on and on and
 * never waits, with a report, instead of hanging. Takes SIGVTALRM and the process's virtual timer,
 * so it is not for a library's host.
 */
#ifndef MKC_CPU_WATCH_H
#define MKC_CPU_WATCH_H

#include "machine.h"

/* From now on a thread may compute for this many seconds, or up to twice as many. */
void watch_start(int seconds);
void watch_stop(void);

/* Appends where the thread that was stopped is. */
void watch_report(const struct machine *m, struct buf *out);

#endif
