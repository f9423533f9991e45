//% -- SPDX-License-Identifier: MIT
//% -- scan.k.c - the portable scan: chunkwise linear attention with at most a scalar decay.
//% --
//% -- In: the plan's slots (gen/emit.c: dk, dv, chunk, dv_tile, stages, decay, arrays, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels) and walks the
//% -- tokens chunk by chunk. With b_i the sum of the log2 decay from the chunk's start through i:
//% --
//% --   P_ij = q_i k_j' 2^(b_i - b_j) for j <= i       O = diag(2^b) Q S + P V
//% --   S    = 2^(b_last) S + K' diag(2^(b_last - b)) V
//% --
//% -- Each warp keeps 16 rows of S' (dv x dk) in fp32 registers; rounded and repacked they are the
//% -- B operand of Q S, so the state never passes through shared memory.
//% -- Scalars that the roles of a token are multiplied by become a write weight (of k and v), which
//% -- scales P's columns and the state's update, and a read weight (of q), which scales O's rows.
//% -- A normaliser is a function of rowsum, what o would be of v = 1 (rowsum.k.c). What the spec
//% -- multiplies v by is in V then, not in the write weight, since rowsum does not see it.
//% keys = { { name = "q", field = q_field, array = q_array, row = row_q },
//%          { name = "k", field = k_field, array = k_array, row = row_k } }
//% delta, erase, erase_before, besides = false, false, false, false
//% square_p, decay_inputs = true, {}
//% include("templates/walk.k.c")
//% if normaliser then include("templates/rowsum.k.c") end
//% include("templates/scores.k.c")
//% print_title()

enum {
//% print_sizes("ROW_BLOCKS % WARPS", "of P")
//% print_tile_enum()
  SMEM_P = $(last) + $(size) * STAGES * V_TILE,
  SMEM_O = SMEM_P + $(size) * CHUNK * P_ROW,
//% local after_o = "SMEM_O + " .. size .. " * V_TILE"
//% if normaliser then after_o = print_rowsum_enum(after_o) end
//% if token then
  SMEM_TABLE = $(after_o),
//% print_table_enum()
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = $(after_o)
//% end
};
//% print_functions()
//% if normaliser then print_rowsum_functions() end
//% print_kernel()
  TILE_SMEM($(element), sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
//% if normaliser then print_rowsum_tiles() end
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end
//% print_start()
//% print_chunk()
//% if normaliser then print_rowsums_of_state() end

//% print_scores()

    /* O = Q S: the accumulators of S' are$(rounded) the B fragments of S */
    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int kb = 0; kb < $(K) / 16; kb++) {
      const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
      const $(pair) lower[2] = {$(pack)(s0[0], s0[1]), $(pack)(s1[0], s1[1])};
      const $(pair) upper[2] = {$(pack)(s0[2], s0[3]), $(pack)(s1[2], s1[3])};
      TILE_UNROLL
      for (int mb = 0; mb < ROW_BLOCKS; mb++) {
        $(pair) aq[4];
        $(load_a("aq", "q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb", "QK_ROW"));
        mma_m16n8k16_$(kind)(out[mb][0], aq, lower);
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
//% end

    /* S' += V' K; the warp's 16 columns of V, transposed, are the A operand */
//% if decay then
    const float whole = table[WHOLE];
    TILE_UNROLL
    for (int nb = 0; nb < $(K) / 8; nb++) scale4(state[nb], whole, whole);
//% end
    $(unroll)
    for (int jb = 0; jb < ROW_BLOCKS; jb++) {
      $(pair) vf[4];
      $(load_b_trans("vf", "v + 16 * jb * V_ROW", "V_ROW"));
//% if decay or write then
      const float *weight = table + $(decay and "TO_END" or "WRITE") + 16 * jb + frag_col;
      const tile_f2 d0 = ld_f32x2(weight), d1 = ld_f32x2(weight + 8);
      $(pair) vt[4];
      vt[0] = $(pack)($(lo"vf[0]") * d0.x, $(hi"vf[0]") * d0.y);
      vt[1] = $(pack)($(lo"vf[2]") * d0.x, $(hi"vf[2]") * d0.y);
      vt[2] = $(pack)($(lo"vf[1]") * d1.x, $(hi"vf[1]") * d1.y);
      vt[3] = $(pack)($(lo"vf[3]") * d1.x, $(hi"vf[3]") * d1.y);
//% else
      const $(pair) vt[4] = {vf[0], vf[2], vf[1], vf[3]};
//% end
      TILE_UNROLL
      for (int nb = 0; nb < $(K) / 16; nb++) {
        $(pair) bk[4];
        $(load_b_trans("bk", at_b_trans("k", "16 * jb", "16 * nb", "QK_ROW"), "QK_ROW"));
        mma_m16n8k16_$(kind)(state[2 * nb], vt, bk);
        mma_m16n8k16_$(kind)(state[2 * nb + 1], vt, bk + 2);
      }
    }

    barrier_sync(); /* P is complete; chunk n - 1's output has left sO */
//% print_next_gates()
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) { /* O += P V; the columns of V are the B operand */
      $(pair) vf[4];
      $(load_b_trans("vf", "v + 16 * jb * V_ROW", "V_ROW"));
      TILE_UNROLL
      for (int mb = jb; mb < ROW_BLOCKS; mb++) {
        $(pair) ap[4];
        $(load_a("ap", "sP + (16 * mb + a_row) * P_ROW + a_col + 16 * jb", "P_ROW"));
        mma_m16n8k16_$(kind)(out[mb][0], ap, vf);
        mma_m16n8k16_$(kind)(out[mb][1], ap, vf + 2);
      }
    }
//% print_output()
//% print_end()
