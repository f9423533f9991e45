/* SPDX-License-Identifier: MIT
 * file.h - whole files: read one into memory, write one so that nobody ever sees half of it.
 */
#ifndef MKC_CLI_FILE_H
#define MKC_CLI_FILE_H

#include "../../runtime/base/error.h"

#include <stddef.h>

/* *ret is the caller's to free and has a NUL after its *ret_len bytes. Pipes are fine. `limit`
 * bounds the size, 0 for none. */
mkc_status file_load(const char *path, size_t limit, char **ret, size_t *ret_len,
                     struct error *err);

/* Writes beside `path` and renames, so that a failure leaves what was there. "-" is standard
 * output; a path that is no regular file (a device, a pipe) is written to directly. */
mkc_status file_save(const char *path, const void *data, size_t len, struct error *err);

/* Whether file_save could create `path` at all: a look before long work, not a promise. */
mkc_status file_check_writable(const char *path, struct error *err);

#endif
