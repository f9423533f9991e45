/* SPDX-License-Identifier: MIT
 * role.h - q, k or v as schedules serve them: scalars of a token times an array over channels,
 * which is an input as it is, or an expression that is computed row by row (row_code.h), as is an
 * input in fp32.
 *
 *   v = dt * input { "x", dv }       x, scalars { dt }
 *   k = b * l2norm(input { "k", dk })    k, scalars { b }, row l2norm(k)
 */
#ifndef MKC_ROLE_H
#define MKC_ROLE_H

#include "emit.h"

enum { ROLE_MAX_TERMS = 16 };

struct role {
  const struct leaf *leaf; /* over channels: the input, or the first that `row` reads */
  int nterms;
  struct expr_term terms[ROLE_MAX_TERMS]; /* the scalars that multiply or divide it */
  const struct expr *row;                 /* over channels; NULL: the leaf itself */
};

/* NULL if e over `axis` is such a product; else what is not served. */
const char *role_split(const struct expr *e, enum axis axis, struct role *ret);

/* Adds the inputs over `axis` that e reads. */
void leaf_list_add_inputs(struct leaf_list *list, const struct expr *e, enum axis axis);

#endif
