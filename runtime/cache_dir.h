/* SPDX-License-Identifier: MIT
 * cache_dir.h - the cache's directory: which it is, and whether it can be trusted.
 */
#ifndef MKC_CACHE_DIR_H
#define MKC_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>

/* The path: `named`, else $MASKC_CACHE_DIR, else $XDG_CACHE_HOME/maskc, else $HOME/.cache/maskc.
 * False: there is none (no HOME), or it is too long. */
bool cache_dir_path(const char *named, char *ret, size_t size);

/* Opens a directory, makes it (and its parents, mode 0700) if need be. -1: *why says why. Refused:
 * what is no directory or is a symbolic link, is not this user's, or is writable by others. */
int cache_dir_open(const char *path, char *why, size_t size);

/* The same for a direct child of an open directory; -1 and errno, EACCES for one not trusted. */
int cache_subdir_open(int parent, const char *name, bool make);

#endif
