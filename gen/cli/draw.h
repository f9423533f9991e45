/* SPDX-License-Identifier: MIT
 * draw.h - a mask as characters: rows are reading tokens, columns the tokens they read.
 */
#ifndef MKC_CLI_DRAW_H
#define MKC_CLI_DRAW_H

#include "../../runtime/base/buf.h"

#include "term.h"

struct drawing {
  int tokens;
  const double *weights; /* [tokens][tokens], row t: what token t gives to each token s */
  bool levels;           /* show the fenwick level of each pair as well */
};

/* Two characters a pair, so that a cell is about square. Shades are relative to the largest
 * weight; a pair that is masked out is blank, however small a weight is not. */
void draw_mask(struct buf *out, const struct drawing *d, const struct term *term);

/* bit_length(t XOR s) */
int fenwick_level(int t, int s);

#endif
