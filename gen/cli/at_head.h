/* SPDX-License-Identifier: MIT
 * at_head.h - a variant for one head: `head` and `heads` in its expressions become numbers.
 */
#ifndef MKC_CLI_AT_HEAD_H
#define MKC_CLI_AT_HEAD_H

#include "../ir.h"

#include <stdint.h>

/* What v means for `head` of `heads`, as a variant that can be asked with one head only. */
const struct variant *variant_at_head(struct arena *a, const struct variant *v, int64_t head,
                                      int64_t heads);

#endif
