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
//% square_p = false
//% include("templates/walk.k.c")
//% -- warps that share a row block of P, so that none is idle
//% local row_blocks, shares = chunk // 16, 1
//% while shares < 4 and 2 * shares * row_blocks <= warps do shares = 2 * shares end
//% -- what computes the factors of a chunk: its parameters and arguments, and the call of log2_decay
//% -- for one channel of the two that a thread takes
//% local code = channel_decay
//% local chunks = decay_inputs[1] and "STAGES * " or "" -- of factors in shared memory
//% local factors = decay_inputs[1] and "sF + stage * F_TILE" or "sF"
//% local parameters = { "float *factors", "float *of_block" }
//% local arguments = { factors, "sBlock" }
//% local function pass(parameter, argument)
//%   parameters[#parameters + 1], arguments[#arguments + 1] = parameter, argument
//% end
//% for i = 2, #decay_inputs do
//%   pass("const float *" .. decay_inputs[i].field, decay_inputs[i].tile .. " + stage * F_TILE")
//% end
//% if code.per_head then pass("const head_values per_head", "per_head") end
//% local has_params = false
//% for _, x in ipairs(code.channels) do
//%   if x.param then
//%     has_params = true
//%     pass("const float *" .. x.field, x.field)
//%   end
//% end
//% if code.inputs[1] then
//%   pass("const op_args *a, " .. gate_parameters .. ", i64 t0, i64 T", join("&a", each(inputs, "%"), "t0, T"))
//% end
//% pass("int rows", "chunk_rows(T, t0)")
//% local function log2_decay(part)
//%   local values = {}
//%   for i, x in ipairs(code.channels) do
//%     values[i] = x.param and x.field .. (part == "x" and "[c]" or "[c + 1]")
//%                 or "pair_" .. x.field .. "." .. part
//%   end
//%   return "log2_decay(" .. join(code.per_head and "per_head", code.inputs[1] and "gate",
//%                                unpack(values)) .. ")"
//% end
//% print_title()

enum {
//% print_sizes("ROW_BLOCKS % WARPS", "of P")
  SHARES = $(shares), /* warps that share 16 rows of P */
//% print_tile_enum()
  /* the inputs of the decays, and in place of the first the factors: floats */
  F_ROW = $(K),
  F_TILE = CHUNK * F_ROW,
  SMEM_F = $(last) + 2 * STAGES * V_TILE,
//% last = "SMEM_F"
//% for i = 2, #decay_inputs do
  SMEM_$(decay_inputs[i].field) = $(last) + 4 * STAGES * F_TILE,
//% last = "SMEM_" .. decay_inputs[i].field
//% end
  SMEM_BLOCK = $(last) + 4 * $(chunks)F_TILE,
  SMEM_P = SMEM_BLOCK + 4 * ROW_BLOCKS * $(K),
  SMEM_O = SMEM_P + 2 * CHUNK * P_ROW,
//% if token then
  SMEM_TABLE = SMEM_O + 2 * V_TILE,
//% print_table_enum()
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = SMEM_O + 2 * V_TILE
//% end
};
//% print_functions()
//% print_log2_decay(channel_decay, false)

/* The decay factors of a chunk's `rows` tokens$(decay_inputs[1] and ", in place of the input" or ""), and of each block of 16 their
 * product. A thread takes two channels of a block. Tokens past the end decay nothing. */
TILE_FN void decay_factors($(join(unpack(parameters)))) {
  enum { PAIRS = $(K) / 2 };
  for (int i = tile_tid(); i < ROW_BLOCKS * PAIRS; i += THREADS) {
    const int block = i / PAIRS, channel = 2 * (i % PAIRS);
//% if has_params and dk ~= dk_pad then
    const int c = channel < DK ? channel : 0; /* where the params have a value */
//% elseif has_params then
    const int c = channel;
//% end
    float sum_x = 0.0f, sum_y = 0.0f; /* of logarithms */
    TILE_UNROLL
    for (int e = 0; e < 16; e++) {
      const int row = 16 * block + e, at = row * F_ROW + channel;
//% if code.inputs[1] then
      const gate_values gate = load_gate(a, $(each(inputs, "%")), t0 + row, T);
//% end
//% for i, x in ipairs(decay_inputs) do
      const tile_f2 pair_$(x.field) = ld_f32x2($(i == 1 and "factors" or x.field) + at);
//% end
      const float x = row < rows ? $(log2_decay("x")) : 0.0f;
      const float y = row < rows ? $(log2_decay("y")) : 0.0f;
      st_f32x2(factors + at, tile_exp2(x), tile_exp2(y));
      sum_x += x;
      sum_y += y;
    }
    st_f32x2(of_block + block * $(K) + channel, tile_exp2(sum_x), tile_exp2(sum_y));
  }
}

/* One warp: rows of a block of P, each a sum over the channels. A lane has four rows, 4 apart, and
 * with the lanes of the same rows shares the channels. `share`: which rows, of SHARES. The pointers
 * are to the block's first token. */
TILE_FN void pairwise($(element) *p, const $(element) *q, const $(element) *k, const float *factors,
                      $(write and "const float *weight, " or "")int share) {
  enum { ROWS = 4 / SHARES, LANES = 32 / ROWS }; /* LANES: of the same rows */
  const int row = tile_lane() % ROWS * SHARES + share; /* and row + 4, row + 8, row + 12 */
  float sum[4][16] = {{0}};
  for (int i = tile_lane() / ROWS; i < $(K) / 2; i += LANES) {
    const int channel = 2 * i;
    u32 q_word[4];
    TILE_UNROLL
    for (int r = 0; r < 4; r++) q_word[r] = ld_u32(q + (4 * r + row) * QK_ROW + channel);
    /* q times the factors of the tokens after s; 0 until s comes back to the row */
    float x[4] = {0}, y[4] = {0};
    TILE_UNROLL
    for (int s = 15; s >= 0; s--) {
      const u32 k_word = ld_u32(k + s * QK_ROW + channel);
      const float kx = $(kind)lo_f32(k_word), ky = $(kind)hi_f32(k_word);
      const tile_f2 f = ld_f32x2(factors + (s < 15 ? s + 1 : s) * F_ROW + channel);
      TILE_UNROLL
      for (int r = s / 4; r < 4; r++) { /* the rows that s can be before, or is */
        if (s < 4 * r + 3) {
          x[r] *= f.x;
          y[r] *= f.y;
        }
        if (r == s / 4) {
          x[r] = s == 4 * r + row ? $(kind)lo_f32(q_word[r]) : x[r];
          y[r] = s == 4 * r + row ? $(kind)hi_f32(q_word[r]) : y[r];
        }
        sum[r][s] += x[r] * kx;
        sum[r][s] += y[r] * ky;
      }
    }
  }
  TILE_UNROLL
  for (int mask = ROWS; mask < 32; mask *= 2) {
    TILE_UNROLL
    for (int r = 0; r < 4; r++) {
      TILE_UNROLL
      for (int s = 0; s < 4 * r + 4; s++) sum[r][s] += warp_shuffle_xor_f32(sum[r][s], mask);
    }
  }
  if (tile_lane() < ROWS) {
    TILE_UNROLL
    for (int s = 0; s < 16; s += 2) {
//% local wx, wy = write and " * w.x" or "", write and " * w.y" or ""
//% if write then
      const tile_f2 w = ld_f32x2(weight + s);
//% end
      TILE_UNROLL
      for (int r = 0; r < 4; r++) /* zeros above the diagonal */
        st_u32(p + (4 * r + row) * P_ROW + s, pack_$(kind)x2(sum[r][s]$(wx), sum[r][s + 1]$(wy)));
    }
  }
}

/* In place: q times the factors from its block's start through its token, k times those after it
 * to the block's end$(write and " and the write weight" or ""). */
TILE_FN void decay_keys($(element) *q, $(element) *k, const float *factors$(write and ", const float *weight" or "")) {
  enum { PAIRS = $(K) / 2 };
  for (int i = tile_tid(); i < ROW_BLOCKS * PAIRS; i += THREADS) {
    const int first = 16 * (i / PAIRS), channel = 2 * (i % PAIRS);
    const float *f_at = factors + first * F_ROW + channel;
    $(element) *q_at = q + first * QK_ROW + channel, *k_at = k + first * QK_ROW + channel;
    float x = 1.0f, y = 1.0f;
    TILE_UNROLL
    for (int e = 0; e < 16; e++) {
      const tile_f2 f = ld_f32x2(f_at + e * F_ROW);
      const u32 word = ld_u32(q_at + e * QK_ROW);
      x *= f.x;
      y *= f.y;
      st_u32(q_at + e * QK_ROW, pack_$(kind)x2($(kind)lo_f32(word) * x, $(kind)hi_f32(word) * y));
    }
    x = y = 1.0f;
    TILE_UNROLL
    for (int e = 15; e >= 0; e--) {
      const tile_f2 f = ld_f32x2(f_at + e * F_ROW);
      const u32 word = ld_u32(k_at + e * QK_ROW);
//% if write then
      const float w = weight[first + e];
      st_u32(k_at + e * QK_ROW, pack_$(kind)x2($(kind)lo_f32(word) * (x * w), $(kind)hi_f32(word) * (y * w)));
//% else
      st_u32(k_at + e * QK_ROW, pack_$(kind)x2($(kind)lo_f32(word) * x, $(kind)hi_f32(word) * y));
//% end
      x *= f.x;
      y *= f.y;
    }
  }
}

/* an accumulator's two columns, each times its factor */
TILE_FN void decay_columns(float *x, const tile_f2 factor) {
  x[0] *= factor.x;
  x[1] *= factor.y;
  x[2] *= factor.x;
  x[3] *= factor.y;
}
//% print_kernel()
  TILE_SMEM(float, sF, SMEM_F, $(chunks)F_TILE); /* [$(chunks ~= "" and "STAGES][" or "")CHUNK][F_ROW] */
//% for i = 2, #decay_inputs do
  TILE_SMEM(float, $(decay_inputs[i].tile), SMEM_$(decay_inputs[i].field), STAGES * F_TILE);
//% end
  TILE_SMEM(float, sBlock, SMEM_BLOCK, ROW_BLOCKS * $(K)); /* factors of blocks of 16 tokens */
  TILE_SMEM($(element), sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end
//% print_start()
//% print_chunk()

    decay_factors($(join(unpack(arguments))));
    barrier_sync(); /* the factors are complete */
    for (int unit = warp; unit < SHARES * ROW_BLOCKS; unit += WARPS) {
      const int block = unit / SHARES, rows = 16 * block * QK_ROW;
      pairwise($(join("sP + 16 * block * P_ROW", "q + rows", "k + rows", factors .. " + 16 * block * F_ROW", write and "table + WRITE + 16 * block", "unit % SHARES")));
    }
    barrier_sync(); /* P is complete; every warp is done with q and k as they were */
    decay_keys($(join("sQ + stage * QK_TILE", "sK + stage * QK_TILE", factors, write and "table + WRITE")));
    barrier_sync(); /* q and k are what meets the state */
//% print_next_gates()

    /* O = Q S + P V and S' = S' diag(A_15) + V' K, block by block. The accumulators of S' are,
     * rounded, the B fragments of S; the warp's 16 columns of V are the B operand of P V and,
     * transposed, the A operand of the update. */
    /* the same matrices of V, in the order of an A operand */
    const $(element) *v_transposed = sV + stage * V_TILE + b_row * V_ROW + 16 * warp + b_col;
    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
      const float *of_block = sBlock + mb * $(K) + frag_col;
      u32 ap[4], vf[4], vt[4];
      ldmatrix_x4(ap, sP + (16 * mb + a_row) * P_ROW + a_col);
      ldmatrix_x4_trans(vf, v + 16 * mb * V_ROW);
      mma_m16n8k16_$(kind)(out[mb][0], ap, vf);
      mma_m16n8k16_$(kind)(out[mb][1], ap, vf + 2);
      ldmatrix_x4_trans(vt, v_transposed + 16 * mb * V_ROW);
      TILE_UNROLL
      for (int kb = 0; kb < $(K) / 16; kb++) {
        float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
        const u32 lower[2] = {pack_$(kind)x2(s0[0], s0[1]), pack_$(kind)x2(s1[0], s1[1])};
        const u32 upper[2] = {pack_$(kind)x2(s0[2], s0[3]), pack_$(kind)x2(s1[2], s1[3])};
        const int at = (16 * mb + a_row) * QK_ROW + a_col + 16 * kb;
        u32 aq[4], bk[4];
        ldmatrix_x4(aq, q + at);
        mma_m16n8k16_$(kind)(out[mb][0], aq, lower);
        mma_m16n8k16_$(kind)(out[mb][1], aq, upper);
        decay_columns(s0, ld_f32x2(of_block + 16 * kb));
        decay_columns(s1, ld_f32x2(of_block + 16 * kb + 8));
        ldmatrix_x4_trans(bk, k + at);
        mma_m16n8k16_$(kind)(s0, vt, bk);
        mma_m16n8k16_$(kind)(s1, vt, bk + 2);
      }
    }
//% print_output()
//% print_end()
