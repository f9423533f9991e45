//% -- SPDX-License-Identifier: MIT
//% -- anchored.k.c - P, and L of a delta rule, between different blocks of 16 tokens of a chunk, where
//% -- decays over dk act (factors.k.c), on all warps.
//% --
//% -- With Q * A, E * A and K * B as decay_keys leaves them, the decays from the start of a token's block
//% -- and to its end, and whole blocks between I and J:
//% --
//% --   P_IJ = (Q * A)_I diag(the blocks between) (K * B)_J'        L_IJ likewise, of E
//% --
//% -- so these are products of matrices, of factors that are at most 1. Of a delta rule E * A and K * B
//% -- are sums of two 16-bit numbers.
//% --
//% -- In: kind, element, delta, erase, K; from the template q, k and erased (what K and E have become)
//% -- and the token table of walk.k.c, sELow, sKLow, sP, sPLow, sHigh, sLow, sBlock; split2 (solve.k.c).
//% -- Out: functions of Lua:
//% --
//% --   print_anchored_functions()   multiply_operand, multiply_split
//% --   print_anchored()             in the kernel: what fills sP and sPLow, and sHigh and sLow with the
//% --                                split -L, below the diagonal blocks
//% function print_anchored_functions()

/* an A operand's columns, each times its factor: x those of the lane's first two, y 8 further on */
TILE_FN void multiply_operand($(pair) *a, const tile_f2 x, const tile_f2 y) {
  a[0] = $(pack)($(lo"a[0]") * x.x, $(hi"a[0]") * x.y);
  a[1] = $(pack)($(lo"a[1]") * x.x, $(hi"a[1]") * x.y);
  a[2] = $(pack)($(lo"a[2]") * y.x, $(hi"a[2]") * y.y);
  a[3] = $(pack)($(lo"a[3]") * y.x, $(hi"a[3]") * y.y);
}
//% if delta and not f32 then

/* the same of a split one */
TILE_FN void multiply_split(u32 *high, u32 *low, const tile_f2 x, const tile_f2 y) {
  TILE_UNROLL
  for (int i = 0; i < 4; i++) {
    const float fx = i < 2 ? x.x : y.x, fy = i < 2 ? x.y : y.y;
    const float first = ($(kind)lo_f32(high[i]) + $(kind)lo_f32(low[i])) * fx;
    const float second = ($(kind)hi_f32(high[i]) + $(kind)hi_f32(low[i])) * fy;
    split2(first, second, high + i, low + i);
  }
}
//% end
//% end
//% function print_anchored()
    for (int unit = warp; unit < ROW_BLOCKS * (ROW_BLOCKS - 1) / 2; unit += WARPS) {
      int row_block = 1, col_block = unit; /* (1,0), (2,0), (2,1), ... */
      while (col_block >= row_block) col_block -= row_block++;
      const int rows = (16 * row_block + a_row) * QK_ROW + a_col;
      const int columns = (16 * col_block + b_row) * QK_ROW + b_col;
      float p[2][4] = {{0}}$(delta and ", l[2][4] = {{0}}" or "");
      $(unroll)
      for (int kb = 0; kb < $(K) / 16; kb++) {
        $(pair) aq[4], bk[4];
        tile_f2 x = {1.0f, 1.0f}, y = {1.0f, 1.0f};
        for (int between = col_block + 1; between < row_block; between++) {
          const float *of_block = sBlock + between * $(K) + 16 * kb + frag_col;
          const tile_f2 fx = ld_f32x2(of_block), fy = ld_f32x2(of_block + 8);
          x.x *= fx.x;
          x.y *= fx.y;
          y.x *= fy.x;
          y.y *= fy.y;
        }
        $(load_a("aq", "q + rows + 16 * kb", "QK_ROW"));
        $(load_b("bk", "k + columns + 16 * kb", "QK_ROW"));
        if (row_block - col_block > 1) multiply_operand(aq, x, y);
        mma_m16n8k16_$(kind)(p[0], aq, bk);
        mma_m16n8k16_$(kind)(p[1], aq, bk + 2);
//% if delta and f32 then
        tile_f2 ae[4];
        $(load_a("ae", "erased + rows + 16 * kb", "QK_ROW"));
        if (row_block - col_block > 1) multiply_operand(ae, x, y);
        mma_m16n8k16_f32(l[0], ae, bk);
        mma_m16n8k16_f32(l[1], ae, bk + 2);
//% elseif delta then
        u32 e_high[4], e_low[4], k_low[4];
        ldmatrix_x4(e_high, erased + rows + 16 * kb);
        ldmatrix_x4(e_low, sELow + rows + 16 * kb);
        ldmatrix_x4(k_low, sKLow + columns + 16 * kb);
        if (row_block - col_block > 1) multiply_split(e_high, e_low, x, y);
        mma_m16n8k16_$(kind)(p[0], aq, k_low);
        mma_m16n8k16_$(kind)(p[1], aq, k_low + 2);
        mma_split(l[0], e_high, e_low, bk, k_low);
        mma_split(l[1], e_high, e_low, bk + 2, k_low + 2);
//% end
      }
      const int at = (16 * row_block + frag_row) * P_ROW + 16 * col_block + frag_col;
//% if delta and erase then
      const float *weight = table + ERASE + 16 * row_block + frag_row;
      const float e0 = weight[0], e1 = weight[8];
//% end
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        const int above = at + 8 * nb, below = above + 8 * P_ROW;
//% if f32 then
        st_f32x2(sP + above, p[nb][0], p[nb][1]);
        st_f32x2(sP + below, p[nb][2], p[nb][3]);
//% end
//% if delta and f32 then
//% if erase then
        scale4(l[nb], e0, e1);
//% end
        st_f32x2(sSystem + above, -l[nb][0], -l[nb][1]);
        st_f32x2(sSystem + below, -l[nb][2], -l[nb][3]);
//% elseif delta then
        u32 high[2], low[2];
        split2(p[nb][0], p[nb][1], high, low);
        split2(p[nb][2], p[nb][3], high + 1, low + 1);
        st_u32(sP + above, high[0]);
        st_u32(sPLow + above, low[0]);
        st_u32(sP + below, high[1]);
        st_u32(sPLow + below, low[1]);
//% if erase then
        scale4(l[nb], e0, e1);
//% end
        split2(-l[nb][0], -l[nb][1], high, low);
        split2(-l[nb][2], -l[nb][3], high + 1, low + 1);
        st_u32(sHigh + above, high[0]);
        st_u32(sLow + above, low[0]);
        st_u32(sHigh + below, high[1]);
        st_u32(sLow + below, low[1]);
//% elseif not f32 then
        st_u32(sP + above, pack_$(kind)x2(p[nb][0], p[nb][1]));
        st_u32(sP + below, pack_$(kind)x2(p[nb][2], p[nb][3]));
//% end
      }
    }
//% end
