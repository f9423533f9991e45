//% -- SPDX-License-Identifier: MIT
//% -- channel.k.c - linear attention with a decay for each channel of dk, chunk by chunk.
//% --
//% -- In: the plan's slots (gen/emit.c: dk, dv, chunk, dv_tile, stages, channel_decay, arrays, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels), loads the tokens
//% -- chunk by chunk and computes in blocks of 16 of them. With a_i in [0,1]^dk a token's decay
//% -- factors and S the state at the start of such a block:
//% --
//% --   P_ij = sum over d of q_id k_jd a_(j+1)d ... a_id for j <= i
//% --   O    = (Q * A) S + P V                A_i = a_0 ... a_i            (* by elements)
//% --   S    = diag(A_15) S + (K * B)' V      B_j = a_(j+1) ... a_15
//% --
//% -- Factors are multiplied, never divided, and no power of 2 above 1 is formed: what lies before a
//% -- reset is exactly nothing. P is no product of matrices then; it is computed in fp32, where the
//% -- running product of q and the factors goes back from token to token. What multiplies the state,
//% -- block by block for all of the sequence, is 2 to the sum of the logarithms.
//% --
//% -- Each warp keeps 16 rows of S' (dv x dk) in fp32 registers; rounded and repacked they are the
//% -- B operand of Q S, so the state never passes through shared memory.
//% -- Scalars that the roles of a token are multiplied by become a write weight (of k and v), which
//% -- scales P's columns and k, and a read weight (of q), which scales O's rows.
//% keys = { { name = "q", field = q_field, array = q_array, row = row_q },
//%          { name = "k", field = k_field, array = k_array, row = row_k } }
//% delta, erase, erase_before, besides = false, false, false, false
//% square_p, late_decays = false, false
//% include("templates/walk.k.c")
//% include("templates/factors.k.c")
//% print_title()

enum {
//% print_sizes("ROW_BLOCKS % WARPS", "of P")
//% print_tile_enum()
//% print_factor_enum()
  SMEM_P = $(last) + 4 * ROW_BLOCKS * $(K),
  SMEM_O = SMEM_P + $(size) * CHUNK * P_ROW,
//% if token then
  SMEM_TABLE = SMEM_O + $(size) * V_TILE,
//% print_table_enum()
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = SMEM_O + $(size) * V_TILE
//% end
};
//% print_functions()
//% print_factor_functions()
//% print_kernel()
//% print_factor_tiles()
  TILE_SMEM($(element), sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end
//% print_start()
//% print_chunk()

    $(call_decay_factors());
    barrier_sync(); /* the factors are complete */
    for (int unit = warp; unit < SHARES * ROW_BLOCKS; unit += WARPS) {
      const int block = unit / SHARES, rows = 16 * block * QK_ROW;
      pairwise($(join("sP + 16 * block * P_ROW", "q + rows", "k + rows", factors .. " + 16 * block * F_ROW", write and "table + WRITE + 16 * block", "unit % SHARES")));
    }
    barrier_sync(); /* P is complete; every warp is done with q and k as they were */
    $(call_decay_keys());
    barrier_sync(); /* q and k are what meets the state */
//% print_next_gates()

    /* O = Q S + P V and S' = S' diag(A_15) + V' K, block by block. The accumulators of S' are$(f32 and "" or ",")
     * $(f32 and "" or "rounded, ")the B fragments of S; the warp's 16 columns of V are the B operand of P V and,
     * transposed, the A operand of the update. */
//% if not f32 then
    /* the same matrices of V, in the order of an A operand */
    const $(element) *v_transposed = sV + stage * V_TILE + b_row * V_ROW + 16 * warp + b_col;
//% end
    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      const float *of_block = sBlock + mb * $(K) + frag_col;
      $(pair) ap[4], vf[4], vt[4];
      $(load_a("ap", "sP + (16 * mb + a_row) * P_ROW + a_col", "P_ROW"));
      $(load_b_trans("vf", "v + 16 * mb * V_ROW", "V_ROW"));
      mma_m16n8k16_$(kind)(out[mb][0], ap, vf);
      mma_m16n8k16_$(kind)(out[mb][1], ap, vf + 2);
      $(load_a_trans("vt", (f32 and "v" or "v_transposed") .. " + 16 * mb * V_ROW", "V_ROW"));
      TILE_UNROLL
      for (int kb = 0; kb < $(K) / 16; kb++) {
        float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
        const $(pair) lower[2] = {$(pack)(s0[0], s0[1]), $(pack)(s1[0], s1[1])};
        const $(pair) upper[2] = {$(pack)(s0[2], s0[3]), $(pack)(s1[2], s1[3])};
//% local k_at = f32 and at_b_trans("k", "16 * mb", "16 * kb", "QK_ROW") or "k + at"
        const int at = (16 * mb + a_row) * QK_ROW + a_col + 16 * kb;
        $(pair) aq[4], bk[4];
        $(load_a("aq", "q + at", "QK_ROW"));
        mma_m16n8k16_$(kind)(out[mb][0], aq, lower);
        mma_m16n8k16_$(kind)(out[mb][1], aq, upper);
        decay_columns(s0, ld_f32x2(of_block + 16 * kb));
        decay_columns(s1, ld_f32x2(of_block + 16 * kb + 8));
        $(load_b_trans("bk", k_at, "QK_ROW"));
        mma_m16n8k16_$(kind)(s0, vt, bk);
        mma_m16n8k16_$(kind)(s1, vt, bk + 2);
      }
    }
//% print_output()
//% print_end()
