/* SPDX-License-Identifier: MIT
 * schedule_channel.h - what the schedule of decays over dk shares with that of the delta rule after
 * such a decay.
 */
#ifndef MKC_SCHEDULE_CHANNEL_H
#define MKC_SCHEDULE_CHANNEL_H

#include "schedule_scan.h"

/* Clocks that the logarithms of a token's decays take, see schedule_scan.h. */
double channel_decay_clocks(const struct branch *b, double dk);
/* Bytes of the tiles of factors and of the inputs that decays read. Mirrors what
 * templates/factors.k.c places; stages: of those tiles. */
int channel_factor_bytes(const struct plan *p, const struct branch *b, int stages);
/* What is read beside q, k and v for a token of one head. */
double channel_other_bytes(const struct variant *v, const struct scan_roles *roles,
                           const struct gen_config *c);
void channel_emit_decay_inputs(struct emission *e, const struct branch *b);

#endif
