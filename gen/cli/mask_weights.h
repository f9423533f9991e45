/* SPDX-License-Identifier: MIT
 * mask_weights.h - the weight that a variant gives to each pair of tokens, apart from its
 * interactions.
 */
#ifndef MKC_CLI_MASK_WEIGHTS_H
#define MKC_CLI_MASK_WEIGHTS_H

#include "../ir.h"

#include <stdint.h>

struct mask_request {
  int tokens;
  int head, heads; /* which head of how many */
  uint64_t seed;   /* of the gates, drawn inside their contracts */
};

/* weights: [tokens][tokens], the product of the decays between two tokens and of the mask, for one
 * head of the first branch; a decay over channels is averaged over them. What is left out is in
 * *ret_note (NULL: nothing). Errors: those of ref_run. */
mkc_status mask_weights(struct arena *a, const struct variant *v,
                        const struct mask_request *request, double *weights, const char **ret_note,
                        struct error *err);

#endif
