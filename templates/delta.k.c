//% -- SPDX-License-Identifier: MIT
//% -- delta.k.c - the delta rule, chunk by chunk, with at most a scalar decay.
//% --
//% -- In: the plan's slots (gen/emit.c: dk, dv, chunk, dv_tile, stages, decay, erase, arrays, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels) and walks the
//% -- tokens chunk by chunk. A token writes k u' with u = v - S' e: v less what the state holds for
//% -- its erase vector e (beta k, or a vector of its own). With b_i the sum of the log2 decay from
//% -- the chunk's start through i and S the state at the start, the u of a chunk solve
//% --
//% --   (I + L) U = X,   L_ij = e_i k_j' 2^(b_i - b_j) for j < i,   X = V - diag(2^b) E S
//% --
//% -- and with them the chunk is that of linear attention (scan.k.c), U in place of V:
//% --
//% --   P_ij = q_i k_j' 2^(b_i - b_j) for j <= i       O = diag(2^b) Q S + P U
//% --   S    = 2^(b_last) S + K' diag(2^(b_last - b)) U
//% --
//% -- An erasure that reads the state before a decays it (decay(a) - outer(k, e)) has b_i less log2 a_i
//% -- in place of b_i, in L and in X.
//% --
//% -- The system is solved by blocks of 16 tokens. The diagonal blocks of I + L are inverted by
//% -- substitution in fp32, and then  U_I = T_II (X_I - sum of L_IJ U_J),  J < I.  Powers of L grow
//% -- without bound where keys repeat, though the inverse does not; so do the rounding errors of a
//% -- whole inverse of 16-bit numbers. Here every operand of the solution is the sum of two 16-bit
//% -- numbers (fp32: is a float): 16 bits of mantissa with bf16. So are U where it enters O and the state, and P: keys that
//% -- repeat add their errors up, and with beta near 2 nothing forgets those of U, whose signs alternate.
//% --
//% -- Each warp keeps 16 rows of S' (dv x dk) in fp32 registers. Rounded and repacked they are the A
//% -- operand of S' E' and the B operand of Q S; X' and U' (16 x chunk) likewise never leave it.
//% -- A role's scalars become weights of a token: write (of v, and of k where k v' is written), erase
//% -- (of e, and of k where k u' is written), read (of q).
//% keys = { { name = "q", field = q_field, array = q_array, row = row_q },
//%          { name = "k", field = k_field, array = k_array, row = row_k } }
//% if erase_tile == "e" then
//%   keys[3] = keys[2]
//%   keys[2] = { name = "e", field = e_field, array = e_array, row = row_e }
//% end
//% delta = true
//% square_p, decay_inputs = true, {}
//% include("templates/walk.k.c")
//% include("templates/solve.k.c")
//% include("templates/blocks.k.c")
//% print_title()

enum {
//% print_sizes("WARPS / 2", "of L and P")
  UNITS = ROW_BLOCKS * (ROW_BLOCKS + 1) / 2, /* blocks of L and P up to the diagonal */
//% print_tile_enum()
  SMEM_P = $(last) + $(size) * STAGES * V_TILE,
  P_TILE = CHUNK * P_ROW,
//% print_system_enum()
  SMEM_O = $(last) + $(size) * P_TILE,
  SMEM_DIAGONAL = SMEM_O + $(size) * V_TILE,
  D_ROW = 24, /* floats of a row of a diagonal block */
  D_TILE = 16 * D_ROW,
//% if token then
  SMEM_TABLE = SMEM_DIAGONAL + 4 * ROW_BLOCKS * D_TILE,
//% print_table_enum()
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = SMEM_DIAGONAL + 4 * ROW_BLOCKS * D_TILE
//% end
};
//% print_functions()
//% print_solve_functions()
//% print_kernel()
//% if f32 then
  TILE_SMEM(float, sP, SMEM_P, P_TILE);
//% else
  TILE_SMEM($(element), sP, SMEM_P, P_TILE); /* split */
  TILE_SMEM($(element), sPLow, SMEM_P_LOW, P_TILE);
//% end
//% print_system_tiles((f32 and "" or "the split ") .. "-L below the diagonal blocks, their inverses on it")
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
  TILE_SMEM(float, sDiagonal, SMEM_DIAGONAL, ROW_BLOCKS * D_TILE); /* blocks of L */
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end
//% print_start()
//% print_chunk()

//% print_blocks()

    /* X' = S' E' and O = Q S: the accumulators of S' are$(rounded) A and B fragments */
    float x[2 * ROW_BLOCKS][4] = {{0}}, out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int kb = 0; kb < $(K) / 16; kb++) {
      const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
      const $(pair) lower[2] = {$(pack)(s0[0], s0[1]), $(pack)(s1[0], s1[1])};
      const $(pair) upper[2] = {$(pack)(s0[2], s0[3]), $(pack)(s1[2], s1[3])};
      const $(pair) as[4] = {lower[0], upper[0], lower[1], upper[1]};
      TILE_UNROLL
      for (int mb = 0; mb < ROW_BLOCKS; mb++) {
        $(pair) be[4], aq[4];
        $(load_b("be", "e + (16 * mb + b_row) * QK_ROW + b_col + 16 * kb", "QK_ROW"));
        $(load_a("aq", "q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb", "QK_ROW"));
        mma_m16n8k16_$(kind)(x[2 * mb], as, be);
        mma_m16n8k16_$(kind)(out[mb][0], aq, lower);
        mma_m16n8k16_$(kind)(x[2 * mb + 1], as, be + 2);
        mma_m16n8k16_$(kind)(out[mb][1], aq, upper);
      }
    }
//% if decay then
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      const float *from_start = table + FROM_START + 16 * mb + frag_row;
      const float e0 = from_start[0], e1 = from_start[8];
      scale4(out[mb][0], e0, e1);
      scale4(out[mb][1], e0, e1);
    }
    const float whole = table[WHOLE];
    TILE_UNROLL
    for (int nb = 0; nb < $(K) / 8; nb++) scale4(state[nb], whole, whole);
//% end
    /* X' = V' - X': a column of X' is a token */
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
//% print_residual("x[2 * mb + nb]")
    }

    barrier_sync(); /* L and P are complete; chunk n - 1's output has left sO */
//% print_next_gates()
    /* U' of 16 tokens, and what follows from it: the next X', O += P U, S' += U' K */
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) {
      const int corner = (16 * jb + b_row) * P_ROW + 16 * jb + b_col;
      $(pair) $(solution_operands);
      float u[2][4] = {{0}};
      $(to_solution("x + 2 * jb"));
//% print_load_system("      ", "corner")
      $(mma_system("u[0]", ""));
      $(mma_system("u[1]", " + 2"));
      $(to_solution("u"));
      TILE_UNROLL
      for (int mb = jb + 1; mb < ROW_BLOCKS; mb++) {
//% print_load_system("        ", "corner + 16 * (mb - jb) * P_ROW")
        $(mma_system("x[2 * mb]", ""));
        $(mma_system("x[2 * mb + 1]", " + 2"));
      }
//% print_solution_columns()
      TILE_UNROLL
      for (int mb = jb; mb < ROW_BLOCKS; mb++) {
        const int rows = (16 * mb + a_row) * P_ROW + a_col + 16 * jb;
        $(pair) $(p_operand);
//% print_output_of_solution("        ", "rows")
      }
//% if decay then
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
        const tile_f2 d = ld_f32x2(table + TO_END + 16 * jb + 8 * nb + frag_col);
        u[nb][0] *= d.x;
        u[nb][1] *= d.y;
        u[nb][2] *= d.x;
        u[nb][3] *= d.y;
      }
      $(to_solution("u"));
//% end
      TILE_UNROLL
      for (int nb = 0; nb < $(K) / 16; nb++) {
        $(pair) bk[4];
        $(load_b_trans("bk", at_b_trans("k", "16 * jb", "16 * nb", "QK_ROW"), "QK_ROW"));
//% print_state_of_solution("        ")
      }
    }
//% print_output()
//% print_end()
