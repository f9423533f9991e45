//% -- SPDX-License-Identifier: MIT
//% -- solve.k.c - what solves (I + L) U = X, block of 16 tokens by block: its operands, the inverse of a
//% -- diagonal block, X.
//% --
//% -- The operands are more precise than 16 bits: the system and P (in shared memory) and U' (in
//% -- registers) are each the sum of two 16-bit numbers; floats where the op's elements are.
//% --
//% -- In: kind, element, decay, write, erase; operands.k.c, print_split2 (walk.k.c); from the template the constants D_ROW, the
//% -- floats of a row of a diagonal block, P_ROW and P_TILE; after print_system_enum, last.
//% -- Out: system and p_tiles, the tiles; solution_operands, the declarators of U' or X' as an A operand
//% -- and of a block of the system as a B operand; p_operand, that of a block of P; functions of Lua that
//% -- print
//% --
//% --   print_solve_functions()      what of these is a function of C, invert_diagonal
//% --   print_system_enum(), print_system_tiles(what)   offsets after SMEM_P, the system's tiles
//% --   print_load_system(indent, at)                   the block of the system at an offset
//% --   print_solution_columns()     lower and upper: the rows of U' as B operands, 8 each
//% --   print_output_of_solution(indent, at)   out[mb] += P U, the block of P at an offset
//% --   print_state_of_solution(indent)    S' += U' K, for 16 channels
//% --   print_residual(x)            for block mb of a chunk: X' = V' - X', in x, 2 of the warp's accumulators
//% --
//% -- or return text: to_solution(x), two accumulators (16 x 16) as the operand U'; mma_system(d, half),
//% -- d += U' times 8 columns of the block; half: "" or " + 2".
//% system = f32 and { { field = "sSystem" } } or { { field = "sHigh" }, { field = "sLow" } }
//% p_tiles = f32 and { { field = "sP" } } or { { field = "sP" }, { field = "sPLow" } }
//% p_operand = f32 and "ap[4]" or "p_high[4], p_low[4]"
//% solution_operands = f32 and "ut[4], block_of_system[4]" or "high[4], low[4], b_high[4], b_low[4]"
//% function to_solution(x)
//%   return f32 and "to_operand(" .. x .. ", ut)" or "split_operand(" .. x .. ", high, low)"
//% end
//% function mma_system(d, half)
//%   if f32 then return "mma_m16n8k16_f32(" .. d .. ", ut, block_of_system" .. half .. ")" end
//%   return "mma_split(" .. d .. ", high, low, b_high" .. half .. ", b_low" .. half .. ")"
//% end
//% function print_system_enum()
//% if f32 then
  SMEM_SYSTEM = SMEM_P + 4 * P_TILE,
//% last = "SMEM_SYSTEM"
//% else
  SMEM_P_LOW = SMEM_P + 2 * P_TILE,
  SMEM_HIGH = SMEM_P_LOW + 2 * P_TILE,
  SMEM_LOW = SMEM_HIGH + 2 * P_TILE,
//% last = "SMEM_LOW"
//% end
//% end
//% function print_system_tiles(what)
//% if f32 then
  TILE_SMEM(float, sSystem, SMEM_SYSTEM, P_TILE); /* $(what) */
//% else
  /* $(what) */
  TILE_SMEM($(element), sHigh, SMEM_HIGH, P_TILE);
  TILE_SMEM($(element), sLow, SMEM_LOW, P_TILE);
//% end
//% end
//% function print_load_system(indent, at)
//% if f32 then
$(indent)$(load_b("block_of_system", "sSystem + " .. at, "P_ROW"));
//% else
$(indent)ldmatrix_x4(b_high, sHigh + $(at));
$(indent)ldmatrix_x4(b_low, sLow + $(at));
//% end
//% end
//% function print_solution_columns()
//% if f32 then
      const tile_f2 lower[2] = {ut[0], ut[2]}, upper[2] = {ut[1], ut[3]};
//% else
      const u32 lower[4] = {high[0], high[2], low[0], low[2]};
      const u32 upper[4] = {high[1], high[3], low[1], low[3]};
//% end
//% end
//% function print_output_of_solution(indent, at)
//% if f32 then
$(indent)$(load_a("ap", "sP + " .. at, "P_ROW"));
$(indent)mma_m16n8k16_f32(out[mb][0], ap, lower);
$(indent)mma_m16n8k16_f32(out[mb][1], ap, upper);
//% else
$(indent)ldmatrix_x4(p_high, sP + $(at));
$(indent)ldmatrix_x4(p_low, sPLow + $(at));
$(indent)mma_split(out[mb][0], p_high, p_low, lower, lower + 2);
$(indent)mma_split(out[mb][1], p_high, p_low, upper, upper + 2);
//% end
//% end
//% function print_state_of_solution(indent)
//% for _, part in ipairs(f32 and { "ut" } or { "low", "high" }) do
$(indent)mma_m16n8k16_$(kind)(state[2 * nb], $(part), bk);
$(indent)mma_m16n8k16_$(kind)(state[2 * nb + 1], $(part), bk + 2);
//% end
//% end
//% local function print_split_functions()
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
//% end
//% function print_solve_functions()
//% if f32 then

/* two accumulators side by side (16 x 16) as an A operand */
TILE_FN void to_operand(float x[2][4], tile_f2 *a) {
  a[0] = to_pair(x[0][0], x[0][1]);
  a[1] = to_pair(x[0][2], x[0][3]);
  a[2] = to_pair(x[1][0], x[1][1]);
  a[3] = to_pair(x[1][2], x[1][3]);
}

/* One warp: the inverse of I + L for one diagonal block, L strictly lower ([16][D_ROW]), by
 * substitution: a lane has a column of it, and the upper lanes repeat what the lower ones do. To a
 * block of rows P_ROW apart. */
TILE_FN void invert_diagonal(const float *l, float *inverse) {
  const int lane = tile_lane(), column = lane & 15;
//% else
//% print_split_functions()

/* One warp: the inverse of I + L for one diagonal block, L strictly lower (fp32, [16][D_ROW]), by
 * substitution: a lane has a column of it. The lower lanes store the high parts, the upper lanes the
 * low parts, to a block of rows P_ROW apart. */
TILE_FN void invert_diagonal(const float *l, $(element) *high, $(element) *low) {
  const int lane = tile_lane(), column = lane & 15;
  $(element) *to = lane < 16 ? high : low;
//% end
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
//% if f32 then
    if (lane < 16) inverse[i * P_ROW + column] = x[i];
//% else
    u32 part, rest;
    split2(x[i], 0.0f, &part, &rest);
    to[i * P_ROW + column] = ($(element))(lane < 16 ? part : rest);
//% end
  }
}
//% end
//% function print_residual(x)
      $(pair) vf[4];
      $(load_b_trans("vf", "v + 16 * mb * V_ROW", "V_ROW"));
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        float *y = $(x);
        const $(pair) v0 = vf[nb], v1 = vf[nb + 2];
//% local ex, ey, wx, wy = "", "", "", ""
//% if decay or erase then
        const tile_f2 old = ld_f32x2(table + $(decay and "OLD" or "ERASE") + 16 * mb + 8 * nb + frag_col);
//% ex, ey = " * old.x", " * old.y"
//% end
//% if write then
        const tile_f2 w = ld_f32x2(table + WRITE + 16 * mb + 8 * nb + frag_col);
//% wx, wy = " * w.x", " * w.y"
//% end
        y[0] = $(lo"v0")$(wx) - y[0]$(ex);
        y[1] = $(hi"v0")$(wy) - y[1]$(ey);
        y[2] = $(lo"v1")$(wx) - y[2]$(ex);
        y[3] = $(hi"v1")$(wy) - y[3]$(ey);
      }
//% end
