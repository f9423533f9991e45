/* SPDX-License-Identifier: MIT
 * schedule_scan.h - the two files of the scan schedule to each other, and to the schedules that
 * walk a head's tokens as the scan does (templates/walk.k.c) and add to it.
 */
#ifndef MKC_SCHEDULE_SCAN_H
#define MKC_SCHEDULE_SCAN_H

#include "role.h"

/* ---- schedule_scan.c: what is served ---- */

/* The roles of a variant that the scan serves. */
struct scan_roles {
  struct role q, k, v;
};
/* The inputs over dk that the decays read, which k and q may read, too. */
void scan_decay_inputs(const struct branch *b, struct leaf_list *ret);
/* NULL, or what the scan lacks. A role that reads the decays' input alone has that for its leaf. */
const char *scan_roles_split(const struct branch *b, struct arena *a, struct scan_roles *ret);
/* The same, but under a normaliser the scalars of v are part of its row program. */
const char *scan_roles_of(const struct variant *v, struct arena *a, struct scan_roles *ret);
/* A vector over dk that is computed in place, before k is: it may read one input and that of k. k
 * is NULL for k itself. NULL, or what the scan lacks in the slot. */
const char *scan_split_key(const char *slot, const struct expr *e, const struct role *k,
                           struct arena *a, struct role *ret);

/* The inputs over dv that have a tile of their own beside V: those that output reads and, where v
 * is an expression over channels, those of v but the first, which is computed in place. */
void scan_tiles(const struct variant *v, const struct scan_roles *roles, struct leaf_list *ret);

/* Whether output is computed row by row, not channel by channel in registers. */
bool scan_output_by_row(const struct variant *v);

/* NULL, or what is lacking in the slots of the spec, but for the normaliser and the kind of the
 * transition: low-rank terms and decays over dk. */
const char *scan_lacks_in_slots(const struct variant *v, struct arena *a);
/* The same but for the mask. */
const char *scan_lacks_but_mask(const struct variant *v, struct arena *a);
/* The parts of the two that the step has as well: NULL, or what is lacking. */
const char *scan_lacks_in_mask(const struct branch *b);
const char *scan_lacks_in_channels(const char *name, int n, struct arena *a);
const char *scan_lacks_in_config(const struct gen_config *c, const int *chunks, int nchunks,
                                 struct arena *a);

/* ---- schedule_scan.c: sizes ---- */

int scan_round_up(int n, int multiple);
int scan_element_bytes(const struct gen_config *c); /* of q, k, v and o */
/* Products of matrices of 16-bit elements that one of the op's elements takes. */
int scan_products(const struct gen_config *c);
/* The sizes that a schedule tries: each of its chunks (or the one asked for), each tile of dv, each
 * number of stages from 2 on. Fills everything else of ret with zeros; returns how many. */
int scan_candidates(const struct schedule *schedule, const struct gen_config *config,
                    const struct target *target, const int *chunks, int nchunks, int most_stages,
                    struct plan *ret);
/* Floats of a chunk's token table: b_i, 2^b_i, 2^(b_last - b_i) and, alone, 2^b_last where there is
 * a decay; a write and a read weight where the roles have them. Mirrors TABLE of the template. */
int scan_table_floats(const struct branch *b, const struct scan_roles *r,
                      const struct gen_config *c);
/* Bytes that are read beside q, k and v for a token of one head. */
double scan_other_bytes(const struct variant *v, const struct scan_roles *roles,
                        const struct gen_config *c);
/* Fills threads and blocks of a plan that has its sizes, smem_bytes among them; with a reason where
 * it cannot run. registers: what a thread wants. */
void scan_fit(struct plan *p, const struct variant *v, const struct scan_roles *roles,
              int registers, struct arena *a);

/* ---- row_cost.c: expressions over channels, in clocks of one warp ---- */

/* What a channel of an expression takes of each of the 32 lanes. */
double scan_channel_clocks(const struct expr *e);
/* A token's: of row programs over so many channels, NULL where there is none. */
double scan_rows_clocks(const struct expr *const *rows, int n, int channels);
/* Those of the roles and of output, which has all channels of the block's. */
double scan_roles_clocks(const struct plan *p, const struct variant *v,
                         const struct scan_roles *roles);
/* Adds a token's clocks, which all warps of the block share, to its time on an SM. */
void scan_add_clocks(struct plan *p, double clocks);

/* ---- schedule_scan_slots.c ---- */

/* What all the code of a kernel reads. */
struct scan_reads {
  struct leaf_list leaves;
  bool head, heads;
};

/* The logarithms whose sum is the log decay of a token, without that of the factor `but` (NULL:
 * none); returns how many, at most one for each factor and weight. */
int scan_collect_logs(const struct branch *b, const struct factor *but, struct expr_term *ret);

/* A sum or product of scalars, or a row program; `key = false` where there is none. */
void scan_emit_terms(struct emission *e, const char *key, const struct expr_term *terms, int n,
                     enum expr_join join, struct scan_reads *reads);
void scan_emit_row(struct emission *e, const char *key, const struct expr *row,
                   struct scan_reads *reads);
/* What the row program of a role calls its input, and the array that it comes from:
 * q_field = "in_C", q_array = "q". */
void scan_emit_role(struct emission *e, const char *slot, const struct role *role,
                    const char *array);
void scan_emit_channels(struct emission *e, const char *field, const char *name, enum axis axis);

/* All of the scan: the expressions; then q, k and v (q and k may be made of one input); then, from
 * what all the code reads, the other arrays. */
void scan_emit_code(struct emission *e, const struct scan_roles *roles, struct scan_reads *reads);
void scan_emit_roles(struct emission *e, const struct scan_roles *roles);
void scan_add_reads(void *data, const struct expr_code *code); /* data: a struct scan_reads */
void scan_emit_arrays(struct emission *e, const struct scan_roles *roles,
                      const struct scan_reads *reads);

void schedule_scan_slots(struct emission *e);

#endif
