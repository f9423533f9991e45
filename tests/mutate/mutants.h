/* SPDX-License-Identifier: MIT
 * mutants.h - the places of an emitted kernel where one edit should break its synchronisation:
 *
 *   delete        barrier_sync();               ->  (nothing); every barrier, wait, fence, commit
 *   wait less     cp_async_wait(STAGES - 2);    ->  cp_async_wait((STAGES - 2) + 1);
 *   flip parity   sTable + (n & 1) * TABLE      ->  sTable + (n & 1 ^ 1) * TABLE
 *   swap buffers  sQ + stage * QK_TILE          ->  sQ + (stage + 1) % STAGES * QK_TILE
 *
 * Found by name, so that a new template needs no list: an operation whose name says barrier, wait,
 * commit or fence; a parity by which a buffer or a wait is chosen; the variables `stage` and
 * `free`.
 */
#ifndef MKC_TESTS_MUTANTS_H
#define MKC_TESTS_MUTANTS_H

#include <stddef.h>

enum { MAX_MUTANTS = 256 };

struct mutant {
  const char *rule;
  size_t at, len;        /* what is replaced */
  char replacement[128]; /* by what */
  char file[64];         /* of the template */
  int line;
  char code[128]; /* that line, without its comment */
};

/* Fills ret in the order of the text; returns how many there are, at most MAX_MUTANTS. */
int mutants_find(const char *text, struct mutant *ret);

/* The caller frees. */
char *mutant_text(const char *text, const struct mutant *m);

#endif
