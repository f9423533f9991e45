//% -- SPDX-License-Identifier: MIT
//% -- transition.k.c - what a chunk does to a state S that it meets, as matrices that are the same for
//% -- every S; for kernels that have several (fenwick_eager.k.c).
//% --
//% -- With L and P of the chunk (blocks.k.c, anchored.k.c), T = (I + L)^-1 and A_i the decays from the
//% -- chunk's start through token i, the delta rule gives, of S alone,
//% --
//% --   O = Q~ S,  Q~ = Q * A - P W        U = -W S,  W = T (E * A)
//% --
//% -- and, of the chunk's own writes V alone, O = M V, M = P T, and U = T V. A mask acts on M by
//% -- elements. Where nothing erases, Q~ = Q * A, M = P, U = V and there is no W.
//% --
//% -- In: kind, element, delta, decay, channel_decay, erase, write, K; what solve.k.c has of functions;
//% -- bit_length (levels.k.c); decay_columns (factors.k.c); from the template q, table, stage of walk.k.c,
//% -- erased (e, or what decays have made of it), weights (the chunk's, of levels), W_ROW and W_TILE, the
//% -- elements of a row of W' and of all of them, and the tiles sP, sPLow, sHigh, sLow, sBlock, sELow, sM, sW.
//% -- Out: functions of Lua:
//% --
//% --   print_transition_functions()   the functions of C
//% --   print_transition()             in the kernel: what fills sM with M under the mask, its columns
//% --                                  times the write weight, sW with the split -W',
//% --                                  and what puts Q~ in place of q
//% -- Keys that repeat add the errors of W up, as they do those of U.
//% local old = delta and (decay and "OLD" or erase and "ERASE")
//% function print_transition_functions()

/* an accumulator from a tile: `at` is where the lane's first row is */
TILE_FN void ld_accumulator(float *x, const $(element) *at, int row) {
  const $(pair) above = $(ld_pair)(at), below = $(ld_pair)(at + 8 * row);
  x[0] = $(lo"above");
  x[1] = $(hi"above");
  x[2] = $(lo"below");
  x[3] = $(hi"below");
}
//% if delta then

/* One warp: U' of (I + L) U = X for 16 columns of X, in place. The system: -L below the diagonal
 * blocks, their inverses on it. */
TILE_FN void solve(float x[2 * ROW_BLOCKS][4], $(each(system, "const " .. element .. " *%"))) {
  const int lane = tile_lane();
//% if f32 then
  const int block = (lane >> 2) * P_ROW + 2 * (lane & 3);
//% else
  const int block = ((lane & 7) + 8 * (lane >> 4)) * P_ROW + 8 * ((lane >> 3) & 1);
//% end
  TILE_UNROLL
  for (int jb = 0; jb < ROW_BLOCKS; jb++) {
    const int corner = block + 16 * jb * P_ROW + 16 * jb;
    $(pair) $(solution_operands);
    float u[2][4] = {{0}};
    $(to_solution("x + 2 * jb"));
//% print_load_system("    ", "corner")
    $(mma_system("u[0]", ""));
    $(mma_system("u[1]", " + 2"));
    $(to_solution("u"));
    TILE_UNROLL
    for (int mb = jb + 1; mb < ROW_BLOCKS; mb++) {
//% print_load_system("      ", "corner + 16 * (mb - jb) * P_ROW")
      $(mma_system("x[2 * mb]", ""));
      $(mma_system("x[2 * mb + 1]", " + 2"));
    }
    TILE_UNROLL
    for (int e = 0; e < 4; e++) {
      x[2 * jb][e] = u[0][e];
      x[2 * jb + 1][e] = u[1][e];
    }
  }
}
//% end
//% end
//% -- the rows of P, or of M = P T, in registers, under the mask to sM. M_IJ = (P_IJ - sum of M_IK
//% -- L_KJ) T_JJ, J < K <= I: from the right to the left.
//% local function print_rows()
        const int row_block = unit, i0 = 16 * row_block + frag_row, i1 = i0 + 8;
        const float *w0 = weights + i0 * LEVEL_ROW, *w1 = weights + i1 * LEVEL_ROW;
//% if delta and f32 then
        tile_f2 m_of[ROW_BLOCKS][4];
//% elseif delta then
        u32 m_high[ROW_BLOCKS][4], m_low[ROW_BLOCKS][4];
//% end
        TILE_UNROLL
        for (int jb = ROW_BLOCKS - 1; jb >= 0; jb--) {
          if (jb > row_block) continue;
          const int at = i0 * P_ROW + 16 * jb + frag_col;
          float m[2][4];
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            ld_accumulator(m[nb], sP + at + 8 * nb, P_ROW);
//% if delta and not f32 then
            float rest[4];
            ld_accumulator(rest, sPLow + at + 8 * nb, P_ROW);
            TILE_UNROLL
            for (int e = 0; e < 4; e++) m[nb][e] += rest[e];
//% end
          }
//% if delta and f32 then
          tile_f2 b[4], a_of[4];
          TILE_UNROLL
          for (int kb = jb + 1; kb < ROW_BLOCKS; kb++) {
            if (kb > row_block) continue;
            $(load_b_trans("b", at_b_trans("sSystem", "16 * kb", "16 * jb", "P_ROW"), "P_ROW"));
            mma_m16n8k16_f32(m[0], m_of[kb], b);
            mma_m16n8k16_f32(m[1], m_of[kb], b + 2);
          }
          to_operand(m, a_of);
          $(load_b_trans("b", at_b_trans("sSystem", "16 * jb", "16 * jb", "P_ROW"), "P_ROW"));
          TILE_UNROLL
          for (int e = 0; e < 4; e++) m[0][e] = m[1][e] = 0.0f;
          mma_m16n8k16_f32(m[0], a_of, b);
          mma_m16n8k16_f32(m[1], a_of, b + 2);
          to_operand(m, m_of[jb]);
//% elseif delta then
          u32 b_high[4], b_low[4];
          TILE_UNROLL
          for (int kb = jb + 1; kb < ROW_BLOCKS; kb++) {
            if (kb > row_block) continue;
            const int below = (16 * kb + a_row) * P_ROW + a_col + 16 * jb;
            ldmatrix_x4_trans(b_high, sHigh + below);
            ldmatrix_x4_trans(b_low, sLow + below);
            mma_split(m[0], m_high[kb], m_low[kb], b_high, b_low);
            mma_split(m[1], m_high[kb], m_low[kb], b_high + 2, b_low + 2);
          }
          const int corner = (16 * jb + a_row) * P_ROW + a_col + 16 * jb;
          u32 high[4], low[4];
          split_operand(m, high, low);
          ldmatrix_x4_trans(b_high, sHigh + corner);
          ldmatrix_x4_trans(b_low, sLow + corner);
          TILE_UNROLL
          for (int e = 0; e < 4; e++) m[0][e] = m[1][e] = 0.0f;
          mma_split(m[0], high, low, b_high, b_low);
          mma_split(m[1], high, low, b_high + 2, b_low + 2);
          split_operand(m, m_high[jb], m_low[jb]);
//% end
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            const int j = 16 * jb + 8 * nb + frag_col;
//% local wx, wy = "", ""
//% if delta and write then
//% wx, wy = " * w.x", " * w.y"
            const tile_f2 w = ld_f32x2(table + WRITE + j);
//% end
            m[nb][0] = j <= i0 ? m[nb][0]$(wx) * w0[bit_length((u32)(i0 ^ j))] : 0.0f;
            m[nb][1] = j + 1 <= i0 ? m[nb][1]$(wy) * w0[bit_length((u32)(i0 ^ (j + 1)))] : 0.0f;
            m[nb][2] = j <= i1 ? m[nb][2]$(wx) * w1[bit_length((u32)(i1 ^ j))] : 0.0f;
            m[nb][3] = j + 1 <= i1 ? m[nb][3]$(wy) * w1[bit_length((u32)(i1 ^ (j + 1)))] : 0.0f;
            $(st_pair)(sM + at + 8 * nb, $(pack)(m[nb][0], m[nb][1]));
            $(st_pair)(sM + at + 8 * P_ROW + 8 * nb, $(pack)(m[nb][2], m[nb][3]));
          }
        }
//% end
//% -- 16 columns of -W' = T (-E * A), and those of Q~ = Q * A + P (-W)
//% local function print_columns()
        const int column = 16 * (unit - ROW_BLOCKS);
        float w[2 * ROW_BLOCKS][4], out[ROW_BLOCKS][2][4];
//% if channel_decay then
        /* the decays of the blocks before: of the lane's rows of W', and of its columns of Q */
        float x0 = 1.0f, x1 = 1.0f;
        tile_f2 y[2] = {{1.0f, 1.0f}, {1.0f, 1.0f}};
//% end
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
//% local split_e = channel_decay and not f32
          $(pair) ef[4]$(split_e and ", e_low[4]" or "");
          $(load_b_trans("ef", at_b_trans("erased", "16 * mb", "column", "QK_ROW"), "QK_ROW"));
//% if split_e then
          $(load_b_trans("e_low", at_b_trans("sELow", "16 * mb", "column", "QK_ROW"), "QK_ROW"));
//% end
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            const $(pair) e0 = ef[nb], e1 = ef[nb + 2];
            float *x = w[2 * mb + nb];
//% local wx, wy = "", ""
//% if old then
//% wx, wy = " * weight.x", " * weight.y"
            const tile_f2 weight = ld_f32x2(table + $(old) + 16 * mb + 8 * nb + frag_col);
//% end
//% if split_e then
            const u32 r0 = e_low[nb], r1 = e_low[nb + 2];
            x[0] = -($(kind)lo_f32(e0) + $(kind)lo_f32(r0))$(wx);
            x[1] = -($(kind)hi_f32(e0) + $(kind)hi_f32(r0))$(wy);
            x[2] = -($(kind)lo_f32(e1) + $(kind)lo_f32(r1))$(wx);
            x[3] = -($(kind)hi_f32(e1) + $(kind)hi_f32(r1))$(wy);
//% else
            x[0] = -$(lo"e0")$(wx);
            x[1] = -$(hi"e0")$(wy);
            x[2] = -$(lo"e1")$(wx);
            x[3] = -$(hi"e1")$(wy);
//% end
//% if channel_decay then
            scale4(x, x0, x1);
//% end
            ld_accumulator(out[mb][nb], q + (16 * mb + frag_row) * QK_ROW + column + 8 * nb + frag_col, QK_ROW);
//% if decay then
            scale4(out[mb][nb], table[FROM_START + 16 * mb + frag_row], table[FROM_START + 16 * mb + frag_row + 8]);
//% elseif channel_decay then
            decay_columns(out[mb][nb], y[nb]);
//% end
          }
//% if channel_decay then
          const float *of_block = sBlock + mb * $(K) + column;
          x0 *= of_block[frag_row];
          x1 *= of_block[frag_row + 8];
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            y[nb].x *= of_block[8 * nb + frag_col];
            y[nb].y *= of_block[8 * nb + frag_col + 1];
          }
//% end
        }
        solve(w, $(each(system, "%")));
        TILE_UNROLL
        for (int jb = 0; jb < ROW_BLOCKS; jb++) {
          $(pair) $(f32 and "ut[4]" or "high[4], low[4]");
          $(to_solution("w + 2 * jb"));
          const int at = (column + frag_row) * W_ROW + 16 * jb + frag_col;
          TILE_UNROLL
          for (int part = 0; part < 4; part++) { /* rows frag_row and 8 more, columns and 8 more */
            const int to = at + 8 * (part & 1) * W_ROW + 8 * (part >> 1);
//% if f32 then
            st_pair(sW + to, ut[part]);
//% else
            st_u32(sW + to, high[part]);
            st_u32(sW + W_TILE + to, low[part]);
//% end
          }
//% print_solution_columns()
          TILE_UNROLL
          for (int mb = jb; mb < ROW_BLOCKS; mb++) {
            const int rows = (16 * mb + a_row) * P_ROW + a_col + 16 * jb;
            $(pair) $(p_operand);
//% print_output_of_solution("            ", "rows")
          }
        }
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            $(element) *q_at = sQ + stage * QK_TILE + (16 * mb + frag_row) * QK_ROW + column + 8 * nb + frag_col;
            $(st_pair)(q_at, $(pack)(out[mb][nb][0], out[mb][nb][1]));
            $(st_pair)(q_at + 8 * QK_ROW, $(pack)(out[mb][nb][2], out[mb][nb][3]));
          }
        }
//% end
//% function print_transition()
//% if delta then
    /* The rows of M, a block of 16 of them at a time, and 16 columns of W and Q~ */
    for (int unit = warp; unit < ROW_BLOCKS + $(K) / 16; unit += WARPS) {
      if (unit < ROW_BLOCKS) {
//% print_rows()
      } else {
//% print_columns()
      }
    }
//% else
    for (int unit = warp; unit < ROW_BLOCKS; unit += WARPS) { /* rows of P under the mask */
//% print_rows()
    }
    /* Q~ = Q * A: the decays of the blocks before a row's */
    for (int i = tile_tid(); i < (CHUNK - 16) * $(K) / 2; i += THREADS) {
      const int row = 16 + i / ($(K) / 2), channel = 2 * (i % ($(K) / 2));
      $(element) *q_at = sQ + stage * QK_TILE + row * QK_ROW + channel;
      const $(pair) pair = $(ld_pair)(q_at);
      float x = $(lo"pair"), y = $(hi"pair");
      for (int before = 0; before < row / 16; before++) {
        const tile_f2 f = ld_f32x2(sBlock + before * $(K) + channel);
        x *= f.x;
        y *= f.y;
      }
      $(st_pair)(q_at, $(pack)(x, y));
    }
//% end
//% end
