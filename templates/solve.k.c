//% -- SPDX-License-Identifier: MIT
//% -- solve.k.c - what solves (I + L) U = X, block of 16 tokens by block: sums of two 16-bit numbers as
//% -- operands, the inverse of a diagonal block, X.
//% --
//% -- In: kind, element, decay, write, erase, print_split2 (walk.k.c); from the template the constants D_ROW, the floats of a row
//% -- of a diagonal block, and P_ROW.
//% -- Out: functions of Lua that print
//% --
//% --   print_solve_functions()   split2, split_operand, mma_split, invert_diagonal
//% --   print_residual(x)         for block mb of a chunk: X' = V' - X', in x, 2 of the warp's accumulators
//% function print_solve_functions()
//% print_split2()

/* two accumulators side by side (16 x 16), split and repacked as an A operand */
TILE_FN void split_operand(float x[2][4], u32 *high, u32 *low) {
  split2(x[0][0], x[0][1], high, low);
  split2(x[0][2], x[0][3], high + 1, low + 1);
  split2(x[1][0], x[1][1], high + 2, low + 2);
  split2(x[1][2], x[1][3], high + 3, low + 3);
}

/* d += a b of split operands; what two low parts give is below fp32's rounding */
TILE_FN void mma_split(float *d, const u32 *a_high, const u32 *a_low, const u32 *b_high,
                       const u32 *b_low) {
  mma_m16n8k16_$(kind)(d, a_low, b_high);
  mma_m16n8k16_$(kind)(d, a_high, b_low);
  mma_m16n8k16_$(kind)(d, a_high, b_high);
}

/* One warp: the inverse of I + L for one diagonal block, L strictly lower (fp32, [16][D_ROW]), by
 * substitution: a lane has a column of it. The lower lanes store the high parts, the upper lanes the
 * low parts, to a block of rows P_ROW apart. */
TILE_FN void invert_diagonal(const float *l, $(element) *high, $(element) *low) {
  const int lane = tile_lane(), column = lane & 15;
  $(element) *to = lane < 16 ? high : low;
  float x[16];
  TILE_UNROLL
  for (int i = 0; i < 16; i++) {
    x[i] = i == column ? 1.0f : 0.0f;
    TILE_UNROLL
    for (int j = 0; j < i; j += 4) {
      const tile_f4 row = ld_f32x4(l + i * D_ROW + j); /* zero from the diagonal on */
      x[i] -= row.x * x[j];
      if (j + 1 < i) x[i] -= row.y * x[j + 1];
      if (j + 2 < i) x[i] -= row.z * x[j + 2];
      if (j + 3 < i) x[i] -= row.w * x[j + 3];
    }
    u32 part, rest;
    split2(x[i], 0.0f, &part, &rest);
    to[i * P_ROW + column] = ($(element))(lane < 16 ? part : rest);
  }
}
//% end
//% function print_residual(x)
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * mb * V_ROW);
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        float *y = $(x);
        const u32 v0 = vf[nb], v1 = vf[nb + 2];
//% local ex, ey, wx, wy = "", "", "", ""
//% if decay or erase then
        const tile_f2 old = ld_f32x2(table + $(decay and "OLD" or "ERASE") + 16 * mb + 8 * nb + frag_col);
//% ex, ey = " * old.x", " * old.y"
//% end
//% if write then
        const tile_f2 w = ld_f32x2(table + WRITE + 16 * mb + 8 * nb + frag_col);
//% wx, wy = " * w.x", " * w.y"
//% end
        y[0] = $(kind)lo_f32(v0)$(wx) - y[0]$(ex);
        y[1] = $(kind)hi_f32(v0)$(wy) - y[1]$(ey);
        y[2] = $(kind)lo_f32(v1)$(wx) - y[2]$(ex);
        y[3] = $(kind)hi_f32(v1)$(wy) - y[3]$(ey);
      }
//% end
