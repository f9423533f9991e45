//% -- SPDX-License-Identifier: MIT
//% -- fenwick.k.c - the scan (scan.k.c) under a fenwick mask: log-linear attention with at most a scalar
//% -- decay, all levels in one pass.
//% --
//% -- In: the plan's slots (gen/emit.c: dk, dv, chunk, dv_tile, stages, near_slots, decay, level_weight,
//% -- arrays, ...).
//% -- Out: one kernel. A block owns one head (and dv_tile of its value channels) and walks the tokens
//% -- chunk by chunk. The tokens before a chunk are the sum of blocks of 2^l tokens, one for each bit l
//% -- of its position, and a token reads each block's state with the weight of the level that they are
//% -- apart. With b_i the sum of the log2 decay from the chunk's start through i, and w_i the weights:
//% --
//% --   P_ij = q_i k_j' 2^(b_i - b_j) w_i[bit_length(i xor j)] for j <= i
//% --   O    = sum over blocks l of diag(2^b w[l + 1]) Q S_l + P V
//% --
//% -- A block's state is made once, where its last token is: from the chunk, K' diag(2^(b_last - b)) V,
//% -- and from the smaller blocks that it is the sum of (a binary counter). It is never changed: what it
//% -- has decayed since is one number, which multiplies rows of O. So a state is rounded to 16 bits once
//% -- for each time that blocks are joined, not once a chunk, and a chunk reads as many states as its
//% -- position has bits and writes one.
//% --
//% -- Each warp makes 16 rows of S' (dv x dk) of every state, or half of them (halves, walk.k.c). Rounded
//% -- and repacked they are the B operand of Q S, and so they are stored: a lane reads back what it, or
//% -- that of the other half a chunk before, wrote, from shared memory the states of the smallest blocks
//% -- (NEAR_SLOTS of them), from the workspace the others; nobody waits.
//% -- Blocks smaller than a chunk are states at the ends of a sequence only, which may lie anywhere in
//% -- a chunk: those of h0 are read by the rest of their chunk.
//% keys = { { name = "q", field = q_field, array = q_array, row = row_q },
//%          { name = "k", field = k_field, array = k_array, row = row_k } }
//% delta, erase, erase_before, besides = false, false, false, false
//% square_p, keeps_state, decay_inputs = true, true, {}
//% include("templates/walk.k.c")
//% include("templates/levels.k.c")
//% include("templates/scores.k.c")
//% local keep_q = halves == 2 and kind ~= "f32" and chunk * dk_pad <= 64 * 128 -- 64 registers
//% print_title()

enum {
//% print_sizes("ROW_BLOCKS % WARPS", "of P")
//% print_tile_enum()
  SMEM_P = $(last) + $(size) * STAGES * V_TILE,
  SMEM_O = SMEM_P + $(size) * CHUNK * P_ROW,
//% last = "SMEM_O + " .. size .. " * V_TILE"
//% print_level_enum()
//% if near_slots > 0 then

  /* a state: for each 16 rows of S' and columns of dk $(f32 and "eight" or "four") words a lane */
  SLOT = (DV_TILE / 16) * ($(K) / 16) * 32 * $(2 * size),
  NEAR_SLOTS = $(near_slots), /* states in shared memory: of blocks of CHUNK tokens, 2 CHUNK, ... */
  SMEM_SLOTS = ($(last) + 15) / 16 * 16,
//% last = "SMEM_SLOTS + 4 * NEAR_SLOTS * SLOT"
//% else

  SLOT = (DV_TILE / 16) * ($(K) / 16) * 32 * $(2 * size), /* a state: for each 16 rows of S' and columns of dk $(f32 and "eight" or "four") words a lane */
//% end
//% if token then
  SMEM_TABLE = $(last),
//% print_table_enum()
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = $(last)
//% end
};
//% print_functions()
//% print_level_functions()

/* Four pairs of 16 columns of dk, in the order of the B operands of Q S; memory: the lane's in a slot. */
TILE_FN void load_pairs($(pair) *pairs, const u32 *memory, int kb) {
//% if f32 then
  const tile_f4 x = ld_f32x4(memory + 256 * kb), y = ld_f32x4(memory + 256 * kb + 128);
  pairs[0] = to_pair(x.x, x.y);
  pairs[1] = to_pair(x.z, x.w);
  pairs[2] = to_pair(y.x, y.y);
  pairs[3] = to_pair(y.z, y.w);
//% else
  ld_u32x4(pairs, memory + 128 * kb);
//% end
}

/* the state of the warp's rows of S'$(f32 and "" or ", rounded") */
TILE_FN void store_state(u32 *to, float state[$(k_of_warp) / 8][4]) {
  TILE_UNROLL
  for (int kb = 0; kb < $(k_of_warp) / 16; kb++) {
    const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
//% if f32 then
    st_f32x4(to + 256 * kb, s0[0], s0[1], s1[0], s1[1]);
    st_f32x4(to + 256 * kb + 128, s0[2], s0[3], s1[2], s1[3]);
//% else
    st_u32x4(to + 128 * kb, pack_$(kind)x2(s0[0], s0[1]), pack_$(kind)x2(s1[0], s1[1]),
             pack_$(kind)x2(s0[2], s0[3]), pack_$(kind)x2(s1[2], s1[3]));
//% end
  }
}

TILE_FN void add_state(float state[$(k_of_warp) / 8][4], const u32 *from$(decay and ", float factor" or "")) {
  TILE_UNROLL
  for (int kb = 0; kb < $(k_of_warp) / 16; kb++) {
    float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
    $(pair) s[4];
    load_pairs(s, from, kb);
//% local by = decay and "factor * " or ""
    s0[0] += $(by)$(lo"s[0]");
    s0[1] += $(by)$(hi"s[0]");
    s1[0] += $(by)$(lo"s[1]");
    s1[1] += $(by)$(hi"s[1]");
    s0[2] += $(by)$(lo"s[2]");
    s0[3] += $(by)$(hi"s[2]");
    s1[2] += $(by)$(lo"s[3]");
    s1[3] += $(by)$(hi"s[3]");
  }
}

/* where the lane has its part of a slot: near and far are that part of the first slots there */
//% if near_slots > 0 then
TILE_FN u32 *slot_at(u32 *near, u32 *far, int slot) {
  const int at = slot - LOG2_CHUNK;
  return at >= 0 && at < NEAR_SLOTS ? near + at * SLOT : far + (i64)slot * SLOT;
}
//% else
TILE_FN u32 *slot_at(u32 *far, int slot) { return far + (i64)slot * SLOT; }
//% end
//% local where = near_slots > 0 and "slot_at(near, far, " or "slot_at(far, "
//% local at_slot, at_made = where .. "slot)", where .. "made)"

/* the lowest of a set of slots */
TILE_FN int first_slot(u32 set) { return bit_length(set & (0u - set)) - 1; }

/* The row where the block of one of h0's slots begins that ends in the first chunk, at row `offset`. */
TILE_FN int first_row_of(int slot, int offset) { return (int)((u32)offset & ~((2u << slot) - 1)); }
//% print_kernel()
  TILE_SMEM($(element), sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
//% print_level_tiles()
//% if near_slots > 0 then
  TILE_SMEM(u32, sSlots, SMEM_SLOTS, NEAR_SLOTS * SLOT);
//% end
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end
//% print_start()
  const u32 first_chunk = (u32)(position / CHUNK);
//% if halves == 2 then
  /* in a slot: what meets the warp's columns of Q S, and the half of it that the warp makes */
  const int read_at = column * ($(K) / 16) * $(64 * size) + 4 * lane;
  const int lane_at = read_at + half * ($(K) / 32) * $(64 * size);
//% else
  const int lane_at = warp * ($(K) / 16) * $(64 * size) + 4 * lane; /* in a slot */
//% end
//% if near_slots > 0 then
  u32 *near = sSlots + lane_at;
//% end
  u32 *far = (u32 *)a.workspace + (i64)block * slots * SLOT + lane_at;
  u32 live = 0; /* bit l: there is a block of 2^l tokens */
  u32 given = 0; /* those that are h0's still */
//% if decay then
  float kept = 0.0f; /* the log2 decay of slot `lane` since it was stored */
//% end
  const float *h0 = a.h0.at ? a.h0.at + batch * a.h0.batch + head * a.h0.head$(plus_dv0) : a.h0.at;
  if (a.h0.at) {
    live = given = (u32)position;
    for (u32 left = live; left != 0; left &= left - 1) {
      const int slot = first_slot(left);
      if (slot >= slots) break; /* h0 has no such slot: its weights are NaN */
      const float *from = h0 + slot * a.h0.slot;
//% each_state_element("      ", "state[n][e] = from[k * DV + v]")
      store_state($(at_slot), state);
    }
  }
//% print_chunk()

//% print_scores()

    /* O = sum over the blocks before the chunk of diag(2^b w) Q S */
    float out[$(warp_blocks)][2][4] = {{{0}}};
//% if keep_q then
    $(pair) aq[$(warp_blocks)][$(K) / 16][4]; /* the warp's rows of Q, for all of the states */
    TILE_UNROLL
    for (int mb = 0; mb < $(warp_blocks); mb++)
      TILE_UNROLL
      for (int kb = 0; kb < $(K) / 16; kb++)
        $(load_a("aq[mb][kb]", "q + (" .. block_row("mb") .. " + a_row) * QK_ROW + a_col + 16 * kb", "QK_ROW"));
//% end
    for (u32 left = live; left != 0; left &= left - 1) {
      const int slot = first_slot(left);
      float part[$(warp_blocks)][2][4] = {{{0}}};
      if (slot < slots) { /* where it is not, the weights are NaN */
        const u32 *from = $(at_slot)$(halves == 2 and " + (read_at - lane_at)" or "");
        $(unroll)
        for (int kb = 0; kb < $(K) / 16; kb++) {
          $(pair) s[4]; /* two B operands, of 8 columns of O each */
          load_pairs(s, from, kb);
          TILE_UNROLL
          for (int mb = 0; mb < $(warp_blocks); mb++) {
//% local aq = keep_q and "aq[mb][kb]" or "aq"
//% if not keep_q then
            $(pair) aq[4];
            $(load_a("aq", "q + (" .. block_row("mb") .. " + a_row) * QK_ROW + a_col + 16 * kb", "QK_ROW"));
//% end
            mma_m16n8k16_$(kind)(part[mb][0], $(aq), s);
            mma_m16n8k16_$(kind)(part[mb][1], $(aq), s + 2);
          }
        }
      }
      /* the block ends before this chunk, or, of h0, inside of it: there a row's level is its own */
      const int begins = first_row_of(slot, offset);
      const int level = slot < $(max_levels) ? slot + 1 : $(max_levels);
//% if decay then
      const float of_slot = tile_exp2(warp_shuffle_idx_f32(kept, slot));
//% end
      TILE_UNROLL
      for (int mb = 0; mb < $(warp_blocks); mb++) {
        const int i0 = $(block_row("mb")) + frag_row, i1 = i0 + 8;
        const int level0 = slot < LOG2_CHUNK ? bit_length((u32)(i0 ^ begins)) : level;
        const int level1 = slot < LOG2_CHUNK ? bit_length((u32)(i1 ^ begins)) : level;
        float w0 = weights[i0 * LEVEL_ROW + level0], w1 = weights[i1 * LEVEL_ROW + level1];
//% if decay then
        w0 *= table[FROM_START + i0] * of_slot;
        w1 *= table[FROM_START + i1] * of_slot;
//% end
        TILE_UNROLL
        for (int nb = 0; nb < 2; nb++) {
          out[mb][nb][0] += w0 * part[mb][nb][0];
          out[mb][nb][1] += w0 * part[mb][nb][1];
          out[mb][nb][2] += w1 * part[mb][nb][2];
          out[mb][nb][3] += w1 * part[mb][nb][3];
        }
      }
    }

    /* The state of the block of CHUNK tokens that ends here and of all that it completes; where the
     * sequence ends inside the chunk, those of the smaller blocks up to there, if ht wants them.
     * S' = V' K; the warp's 16 columns of V, transposed, are the A operand. */
//% if decay then
    kept += table[SUM + CHUNK - 1]$(f32 and " + table[FINE + CHUNK - 1]" or "");
//% end
    const int end = chunk_rows(T, t0);
//% if halves == 2 then
    if (end < CHUNK) barrier_sync(); /* a slot of h0 that is replaced has been read */
//% end
    int first_row = 0; /* of the block */
    for (int left = end == CHUNK || a.ht.at ? end : 0; left != 0;) {
      const int bit = bit_length((u32)left) - 1, rows = 1 << bit; /* the block's */
      left -= rows;
      TILE_UNROLL
      for (int nb = 0; nb < $(k_of_warp) / 8; nb++) state[nb][0] = state[nb][1] = state[nb][2] = state[nb][3] = 0.0f;
      $(unroll)
      for (int jb = 0; jb < ROW_BLOCKS; jb++) {
        if (16 * jb + 16 <= first_row || 16 * jb >= first_row + rows) continue;
        $(pair) vf[4], vt[4];
        float w[4]; /* of the lane's rows of V, 0 outside the block */
        TILE_UNROLL
        for (int e = 0; e < 4; e++) {
          const int j = 16 * jb + frag_col + 8 * (e >> 1) + (e & 1);
          w[e] = j >= first_row && j < first_row + rows ? $(decay and "table[TO_END + j]" or write and "table[WRITE + j]" or "1.0f") : 0.0f;
        }
        $(load_b_trans("vf", "v + 16 * jb * V_ROW", "V_ROW"));
        vt[0] = $(pack)($(lo"vf[0]") * w[0], $(hi"vf[0]") * w[1]);
        vt[1] = $(pack)($(lo"vf[2]") * w[0], $(hi"vf[2]") * w[1]);
        vt[2] = $(pack)($(lo"vf[1]") * w[2], $(hi"vf[1]") * w[3]);
        vt[3] = $(pack)($(lo"vf[3]") * w[2], $(hi"vf[3]") * w[3]);
        TILE_UNROLL
        for (int nb = 0; nb < $(k_of_warp) / 16; nb++) {
          $(pair) bk[4];
          $(load_b_trans("bk", at_b_trans("k", "16 * jb", "16 * nb" .. (halves == 2 and " + half * K_OF_WARP" or ""), "QK_ROW"), "QK_ROW"));
          mma_m16n8k16_$(kind)(state[2 * nb], vt, bk);
          mma_m16n8k16_$(kind)(state[2 * nb + 1], vt, bk + 2);
        }
      }
      /* joined with the blocks that it completes: those that end where it begins, h0's inside of it */
      const int whole = bit == LOG2_CHUNK;
      const int made = whole ? LOG2_CHUNK + first_slot(~(first_chunk + (u32)n)) : bit; /* the slot */
      for (u32 left = live & ((2u << made) - 1); left != 0; left &= left - 1) {
        const int slot = first_slot(left), begins = first_row_of(slot, offset);
        if (!whole && (begins < first_row || begins >= first_row + rows)) continue;
//% if decay then
        const float of_slot = tile_exp2(warp_shuffle_idx_f32(kept, slot));
//% end
        if (slot < slots) add_state(state, $(at_slot)$(decay and ", of_slot" or ""));
        live &= ~(1u << slot);
      }
      if (made < slots) store_state($(at_made), state);
      live |= 1u << made;
      given &= live & ~(1u << made);
//% if decay then
      if (lane == made) kept = 0.0f;
//% end
      first_row += rows;
    }

    barrier_sync(); /* P is complete; chunk n - 1's output has left sO */
//% print_next_gates()
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) { /* O += P V; the columns of V are the B operand */
      $(pair) vf[4];
      $(load_b_trans("vf", "v + 16 * jb * V_ROW", "V_ROW"));
      TILE_UNROLL
      for (int mb = $(halves == 2 and "jb / 2" or "jb"); mb < $(warp_blocks); mb++) {
        $(pair) ap[4];
//% if halves == 2 then
        if (jb > 2 * mb + half) continue;
//% end
        $(load_a("ap", "sP + (" .. block_row("mb") .. " + a_row) * P_ROW + a_col + 16 * jb", "P_ROW"));
        mma_m16n8k16_$(kind)(out[mb][0], ap, vf);
        mma_m16n8k16_$(kind)(out[mb][1], ap, vf + 2);
      }
    }
//% print_output()
//% function print_last_states()
  if (a.ht.at) {
    float *ht = a.ht.at + batch * a.ht.batch + head * a.ht.head$(plus_dv0);
    const int lost = (position + T) >> slots != 0; /* there is no slot for what it would have */
    for (int slot = 0; slot < slots; slot++) {
      float *to = ht + slot * a.ht.slot;
//% if decay then
      const float of_slot = tile_exp2(warp_shuffle_idx_f32(kept, slot));
//% end
      TILE_UNROLL
      for (int nb = 0; nb < $(k_of_warp) / 8; nb++)
        state[nb][0] = state[nb][1] = state[nb][2] = state[nb][3] = lost ? tile_nan() : 0.0f;
      if (!lost && (given >> slot & 1)) { /* not rounded */
        const float *from = h0 + slot * a.h0.slot;
//% each_state_element("        ", "state[n][e] = " .. (decay and "of_slot * " or "") .. "from[k * DV + v]")
      } else if (!lost && (live >> slot & 1)) {
        add_state(state, $(at_slot)$(decay and ", of_slot" or ""));
      }
//% each_state_element("      ", "to[k * DV + v] = state[n][e]")
    }
  }
//% end
//% print_end()
