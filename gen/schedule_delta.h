/* SPDX-License-Identifier: MIT
 * schedule_delta.h - the files of the delta schedules to each other.
 */
#ifndef MKC_SCHEDULE_DELTA_H
#define MKC_SCHEDULE_DELTA_H

#include "schedule_scan.h"

/* A transition with one low-rank term as the kernel serves it. K is the tile of k without its
 * scalars; a token adds K u' to the state, u = write V - S' (erase E):
 *
 *   decay(a), delta(beta), k = c K        erase = c c beta, E = K, write = c beta
 *   decay(a), identity - outer(k, b * p)  erase = c b,      E = p
 */
struct delta_form {
  struct scan_roles roles;
  struct role vector; /* E */
  int nterms;
  struct expr_term terms[2 * ROLE_MAX_TERMS + 1]; /* erase, a product; 1 if there is none */
  /* NULL, or decay(a) - outer(k, e): then E' S reads the state before a has decayed it. */
  const struct factor *decayed_with;
};

/* NULL, or what the kernel lacks for the roles and the transition, in words. */
const char *delta_form_of(const struct branch *b, struct arena *a, struct delta_form *ret);

/* The same, the expressions of erase included. */
const char *delta_lacks_in_form(const struct branch *b, struct arena *a, struct delta_form *ret);

/* The tiles of the size of P: itself and the system that is solved, in 16 bits the sum of two. */
int delta_p_tiles(const struct gen_config *c);

/* The tile that holds E: "k", "q" or one of its own, "e". */
const char *delta_vector_tile(const struct delta_form *f);

/* Floats of a chunk's token table. Mirrors TABLE of templates/tokens.k.c. */
int delta_table_floats(const struct gen_config *c, const struct branch *b,
                       const struct delta_form *f);

/* ---- schedule_delta_slots.c: of the kernels with and without decays over dk ---- */

/* All the code; then the vectors. */
void delta_emit_code(struct emission *e, const struct delta_form *f, struct scan_reads *reads);
void delta_emit_roles(struct emission *e, const struct delta_form *f);

void schedule_delta_slots(struct emission *e);

#endif
