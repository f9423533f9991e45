/* SPDX-License-Identifier: MIT
 * levels.h - what the schedules under a fenwick mask share: the weights of the levels as C text,
 * the arrays over levels, the positions.
 *
 *   mask = fenwick(softplus(param { "L", levels } * input "dt"))     level_weight = { ... }
 */
#ifndef MKC_LEVELS_H
#define MKC_LEVELS_H

#include "schedule_scan.h"

enum { MAX_LEVELS = 24 }; /* of an op: 2^23 tokens */

/* The mask's fenwick factor; NULL: it has none. */
const struct weight *levels_weight(const struct branch *b);
/* NULL, or what is lacking in the mask: it is fenwick, alone or times decays. */
const char *levels_lacks(const struct branch *b, struct arena *a);

/* Inputs over levels that the weights are computed from. */
void levels_inputs(const struct branch *b, struct leaf_list *ret);
/* Bytes of the weights of a chunk: a row of levels a token for each input. Mirrors levels.k.c. */
int levels_tile_bytes(const struct branch *b, int chunk);
/* Costs are at a length that stands for all: 16384 tokens, since a token's position has as many
 * bits as matter. Bytes of levels that are read for a token there, and states that a chunk meets:
 * every second bit of its number is set. */
double levels_bytes(const struct branch *b);
double levels_live_slots(int chunk);

/* level_weight = { ... }, level_inputs = { { field = "in_l", tile = "sLambda" } }, and their
 * arrays; the params' arrays come with the other leaves. */
void levels_emit_weight(struct emission *e, struct scan_reads *reads);
/* position, after all other arrays; and what the runtime wants to know. */
void levels_emit_position(struct emission *e, int slot_bytes);

#endif
