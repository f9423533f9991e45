//% -- SPDX-License-Identifier: MIT
//% -- fenwick_eager.k.c - the Fenwick mask over the delta rule, over decays over dk, or over both, chunk
//% -- by chunk.
//% --
//% -- In: the plan's slots (gen/emit.c: dk, dv, chunk, dv_tile, stages, delta, decay, channel_decay, erase,
//% -- level_weight, arrays, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels) and walks the tokens
//% -- chunk by chunk, on the grid of absolute positions. The tokens before a chunk lie in blocks of 2^i
//% -- of them, one for each bit i that is set in their number; slot i has the state of its block, with
//% -- every transition up to the chunk applied. Token t reads slot i with the weight of a level,
//% -- bit_length(t xor the block's first token), which is i + 1 once the chunk is smaller than the block.
//% --
//% -- What a chunk does to a state S is the same for every slot (transition.k.c): with A_i the decays from
//% -- the chunk's start through token i, and B_i those after it to the chunk's end,
//% --
//% --   O = diag(weights of the slot) Q~ S        S = diag(A_last) S - (K * B)' W S
//% --
//% -- and so the transition is made once, by all warps, and then each warp takes its 16 rows of S' (dv x
//% -- dk) of one slot after another through it: "eager", since every state is advanced chunk by chunk.
//% -- Then comes what the chunk itself writes:
//% --
//% --   O = M V, M under the mask                 S = (K * B)' U
//% --
//% -- At the chunk's end a block that has been filled takes up the smaller ones in it: a state goes to the
//% -- slot of the block that its tokens are in then, the first to come in place of what was there, those
//% -- after it added. Where the sequence ends inside of the chunk, its tokens are in several blocks, and
//% -- each gets its part.
//% --
//% -- The slots are in the workspace; a lane has its accumulators there to itself, so no barrier guards
//% -- them.
//% keys = { { name = "q", field = q_field, array = q_array, row = row_q },
//%          { name = "k", field = k_field, array = k_array, row = row_k } }
//% if not delta then erase, erase_tile, erase_before, besides = false, false, false, false end
//% if erase_tile == "e" then
//%   keys[3] = keys[2]
//%   keys[2] = { name = "e", field = e_field, array = e_array, row = row_e }
//% end
//% square_p, keeps_state = true, false
//% late_decays = delta -- the delta rule needs the room of a second tile of floats
//% if not channel_decay then decay_inputs = {} end
//% include("templates/walk.k.c")
//% include("templates/levels.k.c")
//% if channel_decay then
//%   include("templates/factors.k.c")
//%   include("templates/anchored.k.c")
//% end
//% if delta then include("templates/solve.k.c") end
//% if delta and not channel_decay then include("templates/blocks.k.c") end
//% include("templates/transition.k.c")
//% -- with decays over dk, k is what U meets and e what meets the state: of two values
//% local own_tile, split_keys = channel_decay and erase_tile == "k", delta and channel_decay and not f32
//% -- out += weights Q~ S; then what S takes: X' = S' (-W'), or where nothing erases its decay
//% local function print_read()
        /* the accumulators of S' are, rounded, the B fragments of S */
        float read[ROW_BLOCKS][2][4] = {{{0}}};
        TILE_UNROLL
        for (int kb = 0; kb < $(K) / 16; kb++) {
          const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
          const $(pair) lower[2] = {$(pack)(s0[0], s0[1]), $(pack)(s1[0], s1[1])};
          const $(pair) upper[2] = {$(pack)(s0[2], s0[3]), $(pack)(s1[2], s1[3])};
          TILE_UNROLL
          for (int mb = 0; mb < ROW_BLOCKS; mb++) {
            $(pair) aq[4];
            $(load_a("aq", "q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb", "QK_ROW"));
            mma_m16n8k16_$(kind)(read[mb][0], aq, lower);
            mma_m16n8k16_$(kind)(read[mb][1], aq, upper);
          }
        }
        const int start = (int)(first - base); /* of a block within the chunk */
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
          const int i0 = 16 * mb + frag_row, i1 = i0 + 8;
          const int level0 = slot < LOG2_CHUNK ? bit_length((u32)(i0 ^ start)) : slot + 1;
          const int level1 = slot < LOG2_CHUNK ? bit_length((u32)(i1 ^ start)) : slot + 1;
          const float w0 = weights[i0 * LEVEL_ROW + level0], w1 = weights[i1 * LEVEL_ROW + level1];
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            scale4(read[mb][nb], w0, w1);
            TILE_UNROLL
            for (int e = 0; e < 4; e++) out[mb][nb][e] += read[mb][nb][e];
          }
        }
//% if delta then
        TILE_UNROLL
        for (int kb = 0; kb < $(K) / 16; kb++) { /* X' = S' (-W'), an A operand this time */
          const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
          const $(pair) as[4] = {$(pack)(s0[0], s0[1]), $(pack)(s0[2], s0[3]),
                             $(pack)(s1[0], s1[1]), $(pack)(s1[2], s1[3])};
          TILE_UNROLL
          for (int mb = 0; mb < ROW_BLOCKS; mb++) {
//% if f32 then
            tile_f2 b[4];
            $(load_b_trans("b", at_b_trans("sW", "16 * kb", "16 * mb", "W_ROW"), "W_ROW"));
            mma_m16n8k16_f32(x[2 * mb], as, b);
            mma_m16n8k16_f32(x[2 * mb + 1], as, b + 2);
//% else
            const int at = (16 * kb + a_row) * W_ROW + a_col + 16 * mb;
            u32 b_high[4], b_low[4];
            ldmatrix_x4_trans(b_high, sW + at);
            ldmatrix_x4_trans(b_low, sW + W_TILE + at);
            mma_m16n8k16_$(kind)(x[2 * mb], as, b_low);
            mma_m16n8k16_$(kind)(x[2 * mb + 1], as, b_low + 2);
            mma_m16n8k16_$(kind)(x[2 * mb], as, b_high);
            mma_m16n8k16_$(kind)(x[2 * mb + 1], as, b_high + 2);
//% end
          }
        }
//% end
//% end
//% -- X' of what the chunk's rows first_row to last_row write
//% local function print_own()
        TILE_UNROLL
        for (int mb = 0; mb < ROW_BLOCKS; mb++) {
          $(pair) vf[4];
          $(load_b_trans("vf", "v + 16 * mb * V_ROW", "V_ROW"));
          TILE_UNROLL
          for (int nb = 0; nb < 2; nb++) {
            const int j = 16 * mb + 8 * nb + frag_col;
            const $(pair) v0 = inside_rows(vf[nb], j, first_row, last_row);
            const $(pair) v1 = inside_rows(vf[nb + 2], j, first_row, last_row);
            float *y = x[2 * mb + nb];
//% local wx, wy = "", ""
//% if write then
//% wx, wy = " * w.x", " * w.y"
            const tile_f2 w = ld_f32x2(table + WRITE + j);
//% end
            y[0] = $(lo"v0")$(wx);
            y[1] = $(hi"v0")$(wy);
            y[2] = $(lo"v1")$(wx);
            y[3] = $(hi"v1")$(wy);
          }
        }
        solve(x, $(each(system, "%")));
//% end
//% -- S' decays, and takes X' K
//% local function print_update()
//% if decay then
      const float whole = table[WHOLE];
      TILE_UNROLL
      for (int nb = 0; nb < $(K) / 8; nb++) scale4(state[nb], whole, whole);
//% end
      TILE_UNROLL
      for (int jb = 0; jb < ROW_BLOCKS; jb++) {
//% if channel_decay then
        const float *of_block = sBlock + jb * $(K) + frag_col;
        TILE_UNROLL
        for (int nb = 0; nb < $(K) / 8; nb++) decay_columns(state[nb], ld_f32x2(of_block + 8 * nb));
//% end
//% if decay then
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          const tile_f2 d = ld_f32x2(table + TO_END + 16 * jb + 8 * nb + frag_col);
          float *u = x[2 * jb + nb];
          u[0] *= d.x;
          u[1] *= d.y;
          u[2] *= d.x;
          u[3] *= d.y;
        }
//% end
//% if delta then
        $(pair) $(f32 and "ut[4]" or "high[4], low[4]");
        $(to_solution("x + 2 * jb"));
//% else
        if (16 * jb >= last_row || 16 * jb + 16 <= first_row) continue;
        const int near = 16 * jb + frag_col, far = near + 8;
        $(pair) vf[4], vt[4];
        $(load_b_trans("vf", "v + 16 * jb * V_ROW", "V_ROW"));
        vt[0] = inside_rows(vf[0], near, first_row, last_row);
        vt[1] = inside_rows(vf[2], near, first_row, last_row);
        vt[2] = inside_rows(vf[1], far, first_row, last_row);
        vt[3] = inside_rows(vf[3], far, first_row, last_row);
//% end
        TILE_UNROLL
        for (int nb = 0; nb < $(K) / 16; nb++) {
          $(pair) bk[4];
//% if split_keys then
          const int rows = (16 * jb + a_row) * QK_ROW + a_col + 16 * nb;
          ldmatrix_x4_trans(bk, sKLow + rows);
          mma_m16n8k16_$(kind)(state[2 * nb], high, bk);
          mma_m16n8k16_$(kind)(state[2 * nb + 1], high, bk + 2);
//% end
          $(load_b_trans("bk", at_b_trans("k", "16 * jb", "16 * nb", "QK_ROW"), "QK_ROW"));
//% if delta then
//%   print_state_of_solution("          ")
//% else
          mma_m16n8k16_$(kind)(state[2 * nb], vt, bk);
          mma_m16n8k16_$(kind)(state[2 * nb + 1], vt, bk + 2);
//% end
        }
      }
//% end
//% -- for walk.k.c: zeros for slots that have no block, all NaN where a block has had no slot
//% function print_last_states()
  if (a.ht.at) {
    float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head$(plus_dv0);
    for (int slot = 0; slot < slots; slot++) {
      float state[$(K) / 8][4] = {{0}};
      float *to = ht + slot * a.ht.slot;
      if (live >> slot & 1) load_state(state, states + slot * SLOT);
//% each_state_element("      ", "to[k * DV + v] = state[n][e] + unread")
    }
  }
//% end
//% print_title()

enum {
//% print_sizes(delta and not channel_decay and "WARPS / 2" or "ROW_BLOCKS % WARPS", "of L and P")
//% if delta and not channel_decay then
  UNITS = ROW_BLOCKS * (ROW_BLOCKS + 1) / 2, /* blocks of L and P up to the diagonal */
//% end
//% print_tile_enum()
//% if channel_decay then
//% print_factor_enum()
//% last = "SMEM_BLOCK + 4 * ROW_BLOCKS * " .. K
//% else
//% last = last .. " + " .. size .. " * STAGES * V_TILE"
//% end
//% if own_tile then
  SMEM_E = $(last),
//% last = "SMEM_E + " .. size .. " * QK_TILE"
//% end
//% if split_keys then
  SMEM_E_LOW = $(last),
  SMEM_K_LOW = SMEM_E_LOW + 2 * QK_TILE,
//% last = "SMEM_K_LOW + 2 * QK_TILE"
//% end
  P_TILE = CHUNK * P_ROW,
  SMEM_P = $(last),
//% last = "SMEM_P"
//% if delta then print_system_enum() end
  SMEM_M = $(last) + $(size) * P_TILE,
//% last = "SMEM_M + " .. size .. " * P_TILE"
//% if delta then
  W_ROW = CHUNK + 8,
  W_TILE = $(K) * W_ROW,
  SMEM_W = $(last),
  D_ROW = 24, /* floats of a row of a diagonal block */
  D_TILE = 16 * D_ROW,
  SMEM_DIAGONAL = SMEM_W + $(f32 and "4" or "2 * 2") * W_TILE,
//% last = "SMEM_DIAGONAL + 4 * ROW_BLOCKS * D_TILE"
//% end
  SMEM_O = $(last),
//% last = "SMEM_O + " .. size .. " * V_TILE"
//% print_level_enum()
//% if token then
  SMEM_TABLE = $(last),
//% print_table_enum()
//% last = "SMEM_TABLE + 2 * 4 * TABLE"
//% end
  SMEM_BYTES = $(last),
  SLOT = $(K) * DV_TILE /* floats of a slot: for every 8 columns of dk 4 a lane */
};
//% print_functions()
//% if delta then print_solve_functions() end
//% if channel_decay then
//% print_factor_functions()
//% print_anchored_functions()
//% end
//% print_transition_functions()
//% print_level_functions()

/* A lane's accumulators of S' in a slot: `at` is where it has its first 4. */
TILE_FN void load_state(float state[$(K) / 8][4], const float *at) {
  TILE_UNROLL
  for (int n = 0; n < $(K) / 8; n++) {
    const tile_f4 x = ld_f32x4(at + n * 4 * THREADS);
    state[n][0] = x.x;
    state[n][1] = x.y;
    state[n][2] = x.z;
    state[n][3] = x.w;
  }
}

TILE_FN void add_state(float state[$(K) / 8][4], const float *at) {
  TILE_UNROLL
  for (int n = 0; n < $(K) / 8; n++) {
    const tile_f4 x = ld_f32x4(at + n * 4 * THREADS);
    state[n][0] += x.x;
    state[n][1] += x.y;
    state[n][2] += x.z;
    state[n][3] += x.w;
  }
}

TILE_FN void store_state(float *at, float state[$(K) / 8][4]) {
  TILE_UNROLL
  for (int n = 0; n < $(K) / 8; n++)
    st_f32x4(at + n * 4 * THREADS, state[n][0], state[n][1], state[n][2], state[n][3]);
}

/* of a pair of the chunk's rows j and j + 1: those from first_row on and before last_row, else 0 */
TILE_FN $(pair) inside_rows($(pair) pair, int j, int first_row, int last_row) {
  const int first = j >= first_row && j < last_row, second = j + 1 >= first_row && j + 1 < last_row;
//% if f32 then
  return to_pair(first ? pair.x : 0.0f, second ? pair.y : 0.0f);
//% else
  return pair & ((first ? 0xffffu : 0) | (second ? 0xffff0000u : 0));
//% end
}
//% print_kernel()
//% if channel_decay then print_factor_tiles() end
//% if own_tile then
  TILE_SMEM($(element), sE, SMEM_E, QK_TILE); /* e times the factors */
//% end
//% if split_keys then
  /* what rounding leaves of e and k times the factors */
  TILE_SMEM($(element), sELow, SMEM_E_LOW, QK_TILE);
  TILE_SMEM($(element), sKLow, SMEM_K_LOW, QK_TILE);
//% end
  TILE_SMEM($(element), sP, SMEM_P, P_TILE);
  TILE_SMEM($(element), sM, SMEM_M, P_TILE);
//% if delta then
//% if not f32 then
  TILE_SMEM($(element), sPLow, SMEM_P_LOW, P_TILE); /* what rounding leaves of P */
//% end
//% print_system_tiles((f32 and "" or "split, ") .. "-L below the diagonal blocks, their inverses on it")
//% if f32 then
  TILE_SMEM(float, sW, SMEM_W, W_TILE); /* -W' */
//% else
  TILE_SMEM($(element), sW, SMEM_W, 2 * W_TILE); /* -W', split: the high parts, then the low ones */
//% end
  TILE_SMEM(float, sDiagonal, SMEM_DIAGONAL, ROW_BLOCKS * D_TILE); /* blocks of L */
//% end
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
//% print_level_tiles()
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end
//% print_start()

  float *states = (float *)a.workspace + (i64)block * slots * SLOT + 4 * tile_tid(); /* the lane's */
  const u32 grid = (u32)(position - offset); /* the position of the first chunk's first row */
  u32 live = 0;        /* bit i: slot i has a state */
  float unread = 0.0f; /* NaN once a block has no slot, so that nothing comes out without it */
  if (a.h0.at) {
    const float *h0 = a.h0.at + batch * a.h0.batch + head * a.h0.head$(plus_dv0);
    for (int slot = 0; slot < slots; slot++) {
      if (!(position >> slot & 1)) continue;
      float state[$(K) / 8][4] = {{0}};
      const float *from = h0 + slot * a.h0.slot;
//% each_state_element("      ", "state[n][e] = from[k * DV + v]")
      store_state(states + slot * SLOT, state);
      live |= 1u << slot;
    }
    if (position >> slots != 0) unread = tile_nan();
  }
//% print_chunk()
    const float *weights = sLambda + stage * LEVEL_TILE;

//% if channel_decay then
    $(call_decay_factors());
    barrier_sync(); /* the factors are complete */
    for (int unit = warp; unit < $(delta and "2 * " or "")SHARES * ROW_BLOCKS; unit += WARPS) {
//% if delta then
      const int share = unit % SHARES, block = unit / SHARES / 2, rows = 16 * block * QK_ROW;
      const float *of_rows = $(factors) + 16 * block * F_ROW;
      if (unit / SHARES % 2 == 0)
        pairwise($(each(p_tiles, "% + 16 * block * (P_ROW + 1)")), q + rows, k + rows, of_rows, share);
      else
        pairwise_erase($(join("sDiagonal + block * D_TILE", "e + rows", "k + rows", "of_rows", erase and "table + ERASE + 16 * block", "share")));
//% else
      const int block = unit / SHARES, rows = 16 * block * QK_ROW;
      pairwise($(join("sP + 16 * block * (P_ROW + 1)", "q + rows", "k + rows", factors .. " + 16 * block * F_ROW", write and "table + WRITE + 16 * block", "unit % SHARES")));
//% end
    }
    barrier_sync(); /* the diagonal blocks are complete; every warp is done with what is decayed next */
    $(call_decay_keys());
//% if delta then
    for (int block = warp; block < ROW_BLOCKS; block += WARPS) {
      const int corner = 16 * block * (P_ROW + 1);
      invert_diagonal(sDiagonal + block * D_TILE, $(each(system, "% + corner")));
    }
    const $(element) *erased = $(own_tile and "sE" or "e");
//% end
    barrier_sync(); /* tokens have the decays in their blocks of 16 */
//% if delta and decay_inputs[1] then print_late_loads() end
//% print_anchored()
//% else
//% print_blocks()
    const $(element) *erased = e;
//% end

    barrier_sync(); /* P$(delta and " and L are" or " is") complete; chunk n - 1's output has left sO */
//% print_transition()
    barrier_sync(); /* $(delta and "W, Q~ and M are" or "Q~ and M are") complete */

    /* positions of the chunk's first row, of its first token, and after its last */
    const u32 base = grid + (u32)(n * CHUNK), begin = base + chunk_skip(t0), end = base + chunk_rows(T, t0);

    /* What the chunk itself writes: O = M V */
    float out[ROW_BLOCKS][2][4];
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      TILE_UNROLL
      for (int e = 0; e < 4; e++) out[mb][0][e] = out[mb][1][e] = unread;
    }
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) {
      $(pair) vf[4];
      $(load_b_trans("vf", "v + 16 * jb * V_ROW", "V_ROW"));
      TILE_UNROLL
      for (int mb = jb; mb < ROW_BLOCKS; mb++) {
        $(pair) am[4];
        $(load_a("am", "sM + (16 * mb + a_row) * P_ROW + a_col + 16 * jb", "P_ROW"));
        mma_m16n8k16_$(kind)(out[mb][0], am, vf);
        mma_m16n8k16_$(kind)(out[mb][1], am, vf + 2);
      }
    }

    u32 from = begin; /* what the chunk writes from here on is still to come */
    u32 written = 0;  /* slots that have got their first state */
    while (live != 0 || from < end) {
      float state[$(K) / 8][4] = {{0}}$(delta and ", x[2 * ROW_BLOCKS][4] = {{0}}" or "");
      u32 first = from; /* of the tokens whose state it is */
//% if not delta then
      int first_row = 0, last_row = 0; /* of the chunk, which write */
//% end
      if (live != 0) { /* the largest block that is left */
        const int slot = bit_length(live) - 1;
        live ^= 1u << slot;
        first = begin >> slot >> 1 << slot << 1;
        load_state(state, states + slot * SLOT);
//% print_read()
      } else { /* what the chunk writes: all of it, or a part where the sequence ends */
        const int slot = bit_length(from ^ end) - 1;
        from = end >> slot << slot;
//% if delta then
        const int first_row = (int)(first - base), last_row = (int)(from - base);
//% print_own()
//% else
        first_row = (int)(first - base);
        last_row = (int)(from - base);
//% end
      }
//% print_update()
      const int slot = bit_length(first ^ end) - 1; /* of the block that these tokens are in then */
      if (slot >= slots) {
        unread = tile_nan();
        continue;
      }
      if (written >> slot & 1) add_state(state, states + slot * SLOT);
      store_state(states + slot * SLOT, state);
      written |= 1u << slot;
    }
    live = written;
//% print_next_gates()
//% print_output()
//% print_end()
