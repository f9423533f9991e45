//% -- SPDX-License-Identifier: MIT
//% -- blocks.k.c - L and P of a chunk of the delta rule with at most a scalar decay (delta.k.c), block by
//% -- block of 16 x 16, on all warps.
//% --
//% -- In: kind, element, decay, erase, erase_before, K, operands.k.c; from the template q, k, e and the
//% -- token table of walk.k.c, and the constants UNITS, the blocks up to the diagonal, D_ROW and D_TILE;
//% -- sP (in 16 bits sPLow, too), the tiles of the system, sDiagonal; what solve.k.c has for them.
//% -- Out: print_blocks(), a function of Lua that prints, for the kernel, what fills the tiles of P, and
//% -- those of the system with -L below the diagonal blocks and the inverses of I + L on it.
//% function print_blocks()
    /* L and P, a block of 16 x 16 of both at a time. The diagonal blocks come first, then the warps
     * are dealt to backwards: one that has an inverse to compute has less of the rest. */
    for (int unit = warp, step = 2 * (WARPS - warp) - 1; unit < UNITS;
         unit += step, step = 2 * WARPS - step) {
      int behind = 0, col_block = unit; /* (0,0), (1,1), ... then (1,0), (2,1), ... */
      while (col_block >= ROW_BLOCKS - behind) col_block -= ROW_BLOCKS - behind++;
      const int row_block = col_block + behind;
      const int rows = (16 * row_block + a_row) * QK_ROW + a_col;
      const int columns = (16 * col_block + b_row) * QK_ROW + b_col;
      float l[2][4] = {{0}}, p[2][4] = {{0}};
      $(unroll)
      for (int kb = 0; kb < $(K) / 16; kb++) {
        $(pair) ae[4], aq[4], bk[4];
        $(load_a("ae", "e + rows + 16 * kb", "QK_ROW"));
        $(load_a("aq", "q + rows + 16 * kb", "QK_ROW"));
        $(load_b("bk", "k + columns + 16 * kb", "QK_ROW"));
        mma_m16n8k16_$(kind)(l[0], ae, bk);
        mma_m16n8k16_$(kind)(p[0], aq, bk);
        mma_m16n8k16_$(kind)(l[1], ae, bk + 2);
        mma_m16n8k16_$(kind)(p[1], aq, bk + 2);
      }
      const int i0 = 16 * row_block + frag_row, i1 = i0 + 8;
//% if decay then
      const float b0 = table[SUM + i0], b1 = table[SUM + i1];
//% if f32 then
      const float fine0 = table[FINE + i0], fine1 = table[FINE + i1];
//% end
//% if erase_before then
      const float c0 = table[BEFORE + i0], c1 = table[BEFORE + i1];
//% end
//% if erase_before and f32 then
      const float c_fine0 = table[BEFORE_FINE + i0], c_fine1 = table[BEFORE_FINE + i1];
//% end
//% end
//% local c = erase_before and "c" or "b"
//% if erase then
      const float e0 = table[ERASE + i0], e1 = table[ERASE + i1];
//% end
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        const int j = 16 * col_block + 8 * nb + frag_col;
//% if erase then
        scale4(l[nb], e0, e1);
//% end
//% if decay then
        const tile_f2 b = ld_f32x2(table + SUM + j);
//% if f32 then
        const tile_f2 fine = ld_f32x2(table + FINE + j);
//% end
        /* by select: 2^x overflows above the diagonal */
        l[nb][0] = j < i0 ? l[nb][0] * tile_exp2($(since(c, 0, "x"))) : 0.0f;
        l[nb][1] = j + 1 < i0 ? l[nb][1] * tile_exp2($(since(c, 0, "y"))) : 0.0f;
        l[nb][2] = j < i1 ? l[nb][2] * tile_exp2($(since(c, 1, "x"))) : 0.0f;
        l[nb][3] = j + 1 < i1 ? l[nb][3] * tile_exp2($(since(c, 1, "y"))) : 0.0f;
        p[nb][0] = j <= i0 ? p[nb][0] * tile_exp2($(since("b", 0, "x"))) : 0.0f;
        p[nb][1] = j + 1 <= i0 ? p[nb][1] * tile_exp2($(since("b", 0, "y"))) : 0.0f;
        p[nb][2] = j <= i1 ? p[nb][2] * tile_exp2($(since("b", 1, "x"))) : 0.0f;
        p[nb][3] = j + 1 <= i1 ? p[nb][3] * tile_exp2($(since("b", 1, "y"))) : 0.0f;
//% else
        l[nb][0] = j < i0 ? l[nb][0] : 0.0f;
        l[nb][1] = j + 1 < i0 ? l[nb][1] : 0.0f;
        l[nb][2] = j < i1 ? l[nb][2] : 0.0f;
        l[nb][3] = j + 1 < i1 ? l[nb][3] : 0.0f;
        p[nb][0] = j <= i0 ? p[nb][0] : 0.0f;
        p[nb][1] = j + 1 <= i0 ? p[nb][1] : 0.0f;
        p[nb][2] = j <= i1 ? p[nb][2] : 0.0f;
        p[nb][3] = j + 1 <= i1 ? p[nb][3] : 0.0f;
//% end
//% if f32 then
        st_f32x2(sP + i0 * P_ROW + j, p[nb][0], p[nb][1]);
        st_f32x2(sP + i1 * P_ROW + j, p[nb][2], p[nb][3]);
//% else
        u32 high[2], low[2];
        split2(p[nb][0], p[nb][1], high, low);
        split2(p[nb][2], p[nb][3], high + 1, low + 1);
        st_u32(sP + i0 * P_ROW + j, high[0]);
        st_u32(sP + i1 * P_ROW + j, high[1]);
        st_u32(sPLow + i0 * P_ROW + j, low[0]);
        st_u32(sPLow + i1 * P_ROW + j, low[1]);
//% end
      }
      if (behind == 0) {
        float *diagonal = sDiagonal + row_block * D_TILE;
        const int corner = 16 * row_block * P_ROW + 16 * row_block;
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          const int at = frag_row * D_ROW + 8 * nb + frag_col;
          st_f32x2(diagonal + at, l[nb][0], l[nb][1]);
          st_f32x2(diagonal + at + 8 * D_ROW, l[nb][2], l[nb][3]);
        }
        warp_sync();
        invert_diagonal(diagonal, $(each(system, "% + corner")));
      } else {
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          const int at = i0 * P_ROW + 16 * col_block + 8 * nb + frag_col;
//% if f32 then
          st_f32x2(sSystem + at, -l[nb][0], -l[nb][1]);
          st_f32x2(sSystem + at + 8 * P_ROW, -l[nb][2], -l[nb][3]);
//% else
          u32 high[2], low[2];
          split2(-l[nb][0], -l[nb][1], high, low);
          split2(-l[nb][2], -l[nb][3], high + 1, low + 1);
          st_u32(sHigh + at, high[0]);
          st_u32(sLow + at, low[0]);
          st_u32(sHigh + at + 8 * P_ROW, high[1]);
          st_u32(sLow + at + 8 * P_ROW, low[1]);
//% end
        }
      }
    }
//% end
