/* SPDX-License-Identifier: MIT
 * row_code.h - an expression over the channels of one token as a program that a kernel runs row by
 * row: reductions over the channels, each to one number, then a value for each channel.
 *
 *   softmax(q) * l2norm(k)      row0 = max of in_q
 *                               row1 = 1 / sum of tile_exp(in_q - row0)
 *                               row2 = 1 / sqrt(sum of in_k * in_k + 1e-6)
 *                               value  tile_exp(in_q - row0) * row1 * (in_k * row2)
 *
 * A reduction may read those before it. templates/rows.k.c runs the program on tiles of tokens.
 */
#ifndef MKC_ROW_CODE_H
#define MKC_ROW_CODE_H

#include "emit.h"

struct row_reduction {
  const char *combine;   /* "sum" or "max" */
  struct expr_code term; /* of a channel */
  const char *finish;    /* what row<i> is of the combined terms, x: "1.0f / tile_sqrt(x)" */
};

struct row_code {
  struct row_names names; /* names.n reductions */
  struct row_reduction reductions[ROW_MAX];
  struct expr_code value; /* of a channel */
};

/* NULL if row_code can; else what it cannot. axis: the channels that e runs over. */
const char *row_code_lacks(const struct expr *e, enum axis axis);
/* Whether e has a reduction, so that a token's channels must be in one place. */
bool row_code_reduces(const struct expr *e);

/* row_code_finish frees the texts. */
void row_code(const struct expr *e, const struct gen_config *config, struct arena *a,
              struct row_code *ret);
void row_code_finish(struct row_code *code);

/* Calls visit for every piece of code, the reductions' and the value's. */
void row_code_each(const struct row_code *code,
                   void (*visit)(void *data, const struct expr_code *code), void *data);

/* key = { reductions = { { combine = .., finish = .., term = { .. } }, .. }, value = { .. } }, */
void emit_row(struct buf *out, const char *key, const struct row_code *code);

#endif
