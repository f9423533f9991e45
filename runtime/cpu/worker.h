/* SPDX-License-Identifier: MIT
 * worker.h - for the command line: this program once more, in a process that a check may end. For
 * an address check that process has AddressSanitizer loaded, so that a plain build can do it.
 *
 *   if (check && !cpu_is_worker(check)) {
 *     int exit_status;
 *     if (cpu_worker_run(argv, check, &exit_status, &err)) ...
 *     return exit_status;
 *   }
 *
 * When the sanitizer finds something, the worker prints its report on stderr and exits with 4.
 */
#ifndef MKC_CPU_WORKER_H
#define MKC_CPU_WORKER_H

#include <stdbool.h>

#include "../base/error.h"
#include "../maskc.h"

bool cpu_asan_loaded(void);

/* True: this process can do the check itself. */
bool cpu_is_worker(mkc_check check);

/* From now on a kernel of which a thread computes for seconds and never waits is stopped, with a
 * report. Takes SIGVTALRM and the process's virtual timer. */
void cpu_worker_watch(void);

/* What LD_PRELOAD must hold: the runtime libraries of the compiler that the CPU device uses, with
 * paths, separated by a colon. Errors: MKC_E_NO_COMPILER, MKC_E_ARGUMENT when n is too small. */
mkc_status cpu_asan_preload(char *ret, size_t n, struct error *err);

/* Runs this executable with the arguments of main and waits; argv[0] is replaced. Nothing is
 * preloaded for a race check, or into a program that was built with the sanitizer. Temporary files
 * of the worker are removed however it ends. *ret_exit: its exit status, 128 + n after signal n.
 * Errors: as cpu_asan_preload, and MKC_E_SYSTEM. */
mkc_status cpu_worker_run(char *const *argv, mkc_check check, int *ret_exit, struct error *err);

#endif
