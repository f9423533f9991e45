//% -- SPDX-License-Identifier: MIT
//% -- channel_delta.k.c - the delta rule after a decay for each channel of dk, chunk by chunk.
//% --
//% -- In: the plan's slots (gen/emit.c: dk, dv, chunk, dv_tile, stages, channel_decay, erase, arrays, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels), loads the tokens
//% -- chunk by chunk and computes in blocks of 16 of them, as channel.k.c does. A token writes k u' with
//% -- u = v - (a S)' e: v less what the state, once it has decayed, holds for the erase vector e (beta
//% -- k, or a vector of its own). With a_i in [0,1]^dk a token's decay factors and S the state at the
//% -- start of such a block, the u of a block solve
//% --
//% --   (I + L) U = X,   L_ij = sum over d of e_id k_jd a_(j+1)d ... a_id for j < i
//% --                    X    = V - (E * A) S      A_i = a_0 ... a_i         (* by elements)
//% --
//% -- and with them the block is that of linear attention with such a decay, U in place of V:
//% --
//% --   P_ij = sum over d of q_id k_jd a_(j+1)d ... a_id for j <= i
//% --   O    = (Q * A) S + P U
//% --   S    = diag(A_15) S + (K * B)' U          B_j = a_(j+1) ... a_15
//% --
//% -- L and P are computed in fp32 (factors.k.c), and I + L is inverted by substitution (solve.k.c). So
//% -- that errors do not add up where keys repeat, the inverse, U and P are sums of two 16-bit numbers
//% -- (fp32: floats).
//% -- So are E * A and K * B: factors just below 1 are rounded away in all channels and tokens alike,
//% -- and with beta near 2 a little more of k k' than was meant turns S over without an end.
//% --
//% -- Each warp keeps 16 rows of S' (dv x dk) in fp32 registers. Rounded and repacked they are the A
//% -- operand of S' (E * A)' and the B operand of Q S; X' and U' (16 x 16) likewise never leave it.
//% -- A role's scalars become weights of a token: write (of v, and of k where k v' is written), erase
//% -- (of e, and of k where k u' is written), read (of q).
//% keys = { { name = "q", field = q_field, array = q_array, row = row_q },
//%          { name = "k", field = k_field, array = k_array, row = row_k } }
//% if erase_tile == "e" then
//%   keys[3] = keys[2]
//%   keys[2] = { name = "e", field = e_field, array = e_array, row = row_e }
//% end
//% delta = true
//% square_p = false
//% late_decays = true -- a second tile of floats would be a third of a block's shared memory
//% include("templates/walk.k.c")
//% include("templates/factors.k.c")
//% include("templates/solve.k.c")
//% local own_tile = erase_tile == "k" -- k is what U meets and e what meets the state: of two values
//% print_title()

enum {
//% print_sizes("ROW_BLOCKS % WARPS", "of the inverses")
//% print_tile_enum()
//% print_factor_enum()
//% last = "SMEM_BLOCK + 4 * ROW_BLOCKS * " .. K
//% if own_tile then
  SMEM_E = $(last),
//% last = "SMEM_E + " .. size .. " * QK_TILE"
//% end
//% if not f32 then
  SMEM_E_LOW = $(last),
  SMEM_K_LOW = SMEM_E_LOW + 2 * QK_TILE,
//% last = "SMEM_K_LOW + 2 * QK_TILE"
//% end
  P_TILE = CHUNK * P_ROW,
  SMEM_P = $(last),
//% print_system_enum()
  SMEM_O = $(last) + $(size) * P_TILE,
  SMEM_L = SMEM_O + $(size) * V_TILE,
  D_ROW = 24, /* floats of a row of a block of L */
  D_TILE = 16 * D_ROW,
//% if token then
  SMEM_TABLE = SMEM_L + 4 * ROW_BLOCKS * D_TILE,
//% print_table_enum()
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = SMEM_L + 4 * ROW_BLOCKS * D_TILE
//% end
};
//% print_functions()
//% print_solve_functions()
//% print_factor_functions()
//% print_kernel()
//% print_factor_tiles()
//% if own_tile then
  TILE_SMEM($(element), sE, SMEM_E, QK_TILE); /* e times the factors */
//% end
//% if f32 then
  TILE_SMEM(float, sP, SMEM_P, P_TILE);
//% else
  /* what rounding leaves of e and k times the factors, and of P */
  TILE_SMEM($(element), sELow, SMEM_E_LOW, QK_TILE);
  TILE_SMEM($(element), sKLow, SMEM_K_LOW, QK_TILE);
  TILE_SMEM($(element), sP, SMEM_P, P_TILE);
  TILE_SMEM($(element), sPLow, SMEM_P_LOW, P_TILE);
//% end
//% print_system_tiles("the inverses of the blocks of I + L" .. (f32 and "" or ", split"))
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
  TILE_SMEM(float, sL, SMEM_L, ROW_BLOCKS * D_TILE);
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end
//% print_start()
//% print_chunk()

    $(call_decay_factors());
    barrier_sync(); /* the factors are complete */
    for (int unit = warp; unit < 2 * SHARES * ROW_BLOCKS; unit += WARPS) {
      const int share = unit % SHARES, block = unit / SHARES / 2, rows = 16 * block * QK_ROW;
      const float *of_rows = $(factors) + 16 * block * F_ROW;
      if (unit / SHARES % 2 == 0)
        pairwise($(each(p_tiles, "% + 16 * block * P_ROW")), q + rows, k + rows, of_rows, share);
      else
        pairwise_erase($(join("sL + block * D_TILE", "e + rows", "k + rows", "of_rows", erase and "table + ERASE + 16 * block", "share")));
    }
    barrier_sync(); /* L and P are complete; every warp is done with q, k and e as they were */
    $(call_decay_keys());
    for (int block = warp; block < ROW_BLOCKS; block += WARPS) {
      const int corner = 16 * block * P_ROW;
      invert_diagonal(sL + block * D_TILE, $(each(system, "% + corner")));
    }
    barrier_sync(); /* q, k and e are what meets the state and U; the inverses are complete */
//% if decay_inputs[1] then print_late_loads() end
//% print_next_gates()

    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      /* X' = S' E', O = Q S, then S' decays: its accumulators are$(rounded) A and B fragments */
      const float *of_block = sBlock + mb * $(K) + frag_col;
      float x[2][4] = {{0}};
      TILE_UNROLL
      for (int kb = 0; kb < $(K) / 16; kb++) {
        float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
        const $(pair) lower[2] = {$(pack)(s0[0], s0[1]), $(pack)(s1[0], s1[1])};
        const $(pair) upper[2] = {$(pack)(s0[2], s0[3]), $(pack)(s1[2], s1[3])};
        const $(pair) as[4] = {lower[0], upper[0], lower[1], upper[1]};
        const int rows = (16 * mb + b_row) * QK_ROW + b_col + 16 * kb;
        $(pair) be[4], aq[4];
//% if not f32 then
        ldmatrix_x4(be, sELow + rows);
        mma_m16n8k16_$(kind)(x[0], as, be);
        mma_m16n8k16_$(kind)(x[1], as, be + 2);
//% end
        $(load_b("be", (own_tile and "sE" or "e") .. " + rows", "QK_ROW"));
        $(load_a("aq", "q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb", "QK_ROW"));
        mma_m16n8k16_$(kind)(x[0], as, be);
        mma_m16n8k16_$(kind)(out[mb][0], aq, lower);
        mma_m16n8k16_$(kind)(x[1], as, be + 2);
        mma_m16n8k16_$(kind)(out[mb][1], aq, upper);
        decay_columns(s0, ld_f32x2(of_block + 16 * kb));
        decay_columns(s1, ld_f32x2(of_block + 16 * kb + 8));
      }
      /* X' = V' - X': a column of X' is a token */
//% print_residual("x[nb]")

      /* U', and what follows from it: O += P U, S' += U' K */
      $(pair) $(solution_operands), $(p_operand);
      float u[2][4] = {{0}};
      $(to_solution("x"));
//% print_load_system("      ", "(16 * mb + b_row) * P_ROW + b_col")
      $(mma_system("u[0]", ""));
      $(mma_system("u[1]", " + 2"));
      $(to_solution("u"));
//% print_solution_columns()
//% print_output_of_solution("      ", "(16 * mb + a_row) * P_ROW + a_col")
      TILE_UNROLL
      for (int nb = 0; nb < $(K) / 16; nb++) {
//% if f32 then
        tile_f2 bk[4];
        $(load_b_trans("bk", at_b_trans("k", "16 * mb", "16 * nb", "QK_ROW"), "QK_ROW"));
//% else
        const int rows = (16 * mb + a_row) * QK_ROW + a_col + 16 * nb;
        u32 bk[4];
        ldmatrix_x4_trans(bk, sKLow + rows);
        mma_m16n8k16_$(kind)(state[2 * nb], high, bk);
        mma_m16n8k16_$(kind)(state[2 * nb + 1], high, bk + 2);
        ldmatrix_x4_trans(bk, k + rows);
//% end
//% print_state_of_solution("        ")
      }
    }
//% print_output()
//% print_end()
