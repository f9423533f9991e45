/* SPDX-License-Identifier: MIT
 * process.h - runs a program without a shell, and private folders for what it reads and writes.
 */
#ifndef MKC_CPU_PROCESS_H
#define MKC_CPU_PROCESS_H

#include <stdbool.h>

#include "../base/buf.h"
#include "../base/error.h"

enum { PROCESS_PATH_MAX = 4096 };

/* argv[0] is a path. env: NULL, or a NULL-ended list of "NAME=value" to set and "NAME" to unset;
 * PATH is set where it is not.
 * output: NULL, or a file that takes stdout and stderr; standard input is then empty.
 * Waits; *ret_exit is the exit status, 128 + n when signal n ended it, or -1 when it is unknown
 * because this process ignores SIGCHLD.
 * Errors: MKC_E_SYSTEM when it cannot be started. */
mkc_status process_run(const char *const *argv, const char *const *env, const char *output,
                       int *ret_exit, struct error *err);

/* A program's path: name itself if it has a slash and can be run, else from PATH. */
bool program_find(const char *name, char ret[PROCESS_PATH_MAX]);

/* A new folder in $TMPDIR (if that is an absolute path) or /tmp that only this user can enter.
 * Refused where others could put a folder of theirs in its place: code is run from it. */
mkc_status scratch_create(char ret[PROCESS_PATH_MAX], struct error *err);
void scratch_remove(const char *dir); /* with the files in it; "" is fine */

/* DIR/NAME, shortened to fit. */
void scratch_path(const char *dir, const char *name, char ret[PROCESS_PATH_MAX]);

mkc_status file_write(const char *path, const void *data, size_t len, struct error *err);
mkc_status file_read(const char *path, struct buf *ret, struct error *err);

#endif
