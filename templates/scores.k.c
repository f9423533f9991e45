//% -- SPDX-License-Identifier: MIT
//% -- scores.k.c - P of a chunk, the scores of its tokens with each other, where at most a scalar decay and
//% -- the weights of levels act on them (scan.k.c, fenwick.k.c); on all warps.
//% --
//% -- In: what walk.k.c has; decay, write, max_levels, normaliser; from the template the tile sP, under a
//% -- fenwick mask sLambda (levels.k.c), under a normaliser what rowsum.k.c has.
//% -- Out: print_scores(), a function of Lua that prints, for the kernel, what fills sP up to the diagonal,
//% -- and under a fenwick mask the declaration of weights, the chunk's.
//% function print_scores()
    /* P: each warp takes 16 rows and blocks of 32 columns that reach the diagonal */
//% if max_levels then
    const float *weights = sLambda + stage * LEVEL_TILE;
//% end
    for (int unit = warp; unit < ROW_BLOCKS * ((ROW_BLOCKS + 1) / 2); unit += WARPS) {
      const int row_block = unit % ROW_BLOCKS, col_block = 2 * (unit / ROW_BLOCKS); /* of 16 */
      if (col_block <= row_block) {
        const $(element) *q_rows = q + (16 * row_block + a_row) * QK_ROW + a_col;
        const $(element) *k_rows = k + (16 * col_block + b_row) * QK_ROW + b_col;
        float p[4][4] = {{0}};
        $(unroll)
        for (int kb = 0; kb < $(K) / 16; kb++) {
          $(pair) aq[4], bk[4];
          $(load_a("aq", "q_rows + 16 * kb", "QK_ROW"));
          $(load_b("bk", "k_rows + 16 * kb", "QK_ROW"));
          mma_m16n8k16_$(kind)(p[0], aq, bk);
          mma_m16n8k16_$(kind)(p[1], aq, bk + 2);
          if (col_block < row_block) {
            $(load_b("bk", "k_rows + 16 * QK_ROW + 16 * kb", "QK_ROW"));
            mma_m16n8k16_$(kind)(p[2], aq, bk);
            mma_m16n8k16_$(kind)(p[3], aq, bk + 2);
          }
        }
        const int i0 = 16 * row_block + frag_row, i1 = i0 + 8;
//% if max_levels then
        const float *w0 = weights + i0 * LEVEL_ROW, *w1 = weights + i1 * LEVEL_ROW;
//% end
//% if decay then
        const float b0 = table[SUM + i0], b1 = table[SUM + i1];
//% end
//% if decay and f32 then
        const float fine0 = table[FINE + i0], fine1 = table[FINE + i1];
//% end
        TILE_UNROLL
        for (int nb = 0; nb < $(chunk == 16 and 2 or 4); nb++) {
          const int j = 16 * col_block + 8 * nb + frag_col;
//% if write then
          const tile_f2 w = ld_f32x2(table + WRITE + j);
          p[nb][0] *= w.x;
          p[nb][1] *= w.y;
          p[nb][2] *= w.x;
          p[nb][3] *= w.y;
//% end
//% if max_levels then
          p[nb][0] *= w0[bit_length((u32)(i0 ^ j))];
          p[nb][1] *= w0[bit_length((u32)(i0 ^ (j + 1)))];
          p[nb][2] *= w1[bit_length((u32)(i1 ^ j))];
          p[nb][3] *= w1[bit_length((u32)(i1 ^ (j + 1)))];
//% end
//% if decay then
          const tile_f2 b = ld_f32x2(table + SUM + j);
//% if f32 then
          const tile_f2 fine = ld_f32x2(table + FINE + j);
//% end
          /* by select: 2^x overflows above the diagonal */
          p[nb][0] = j <= i0 ? p[nb][0] * tile_exp2($(since("b", 0, "x"))) : 0.0f;
          p[nb][1] = j + 1 <= i0 ? p[nb][1] * tile_exp2($(since("b", 0, "y"))) : 0.0f;
          p[nb][2] = j <= i1 ? p[nb][2] * tile_exp2($(since("b", 1, "x"))) : 0.0f;
          p[nb][3] = j + 1 <= i1 ? p[nb][3] * tile_exp2($(since("b", 1, "y"))) : 0.0f;
//% else
          p[nb][0] = j <= i0 ? p[nb][0] : 0.0f;
          p[nb][1] = j + 1 <= i0 ? p[nb][1] : 0.0f;
          p[nb][2] = j <= i1 ? p[nb][2] : 0.0f;
          p[nb][3] = j + 1 <= i1 ? p[nb][3] : 0.0f;
//% end
          $(st_pair)(sP + i0 * P_ROW + j, $(pack)(p[nb][0], p[nb][1]));
          $(st_pair)(sP + i1 * P_ROW + j, $(pack)(p[nb][2], p[nb][3]));
        }
//% if normaliser then print_rowsum_of_block() end
      }
    }
//% end
