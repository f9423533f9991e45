//% -- SPDX-License-Identifier: MIT
//% -- rowsum.k.c - the row sums of a normaliser: what o of a token would be if v were 1.
//% --
//% -- In: kind, element, operands.k.c, decay, write, read, scale, normaliser (walk.k.c, which has K and print_split2);
//% -- from the template the constants of walk.k.c. Out: functions of Lua, in the order in which a template
//% -- calls them:
//% --
//% --   print_rowsum_enum(at)      constants: offsets from `at` on; returns the text of the end
//% --   print_rowsum_functions()   the functions of C
//% --   print_rowsum_tiles(), print_rowsum_start()   in the kernel: the arrays; z before the first chunk
//% --   print_rowsums_of_state()   before the barrier behind which P is complete: sRowsum's first part
//% --   print_rowsum_of_block()    where p is a block of P, 16 x 32, in accumulators: one of the others
//% --   print_rowsum_end()         z after the last one, on its way out
//% --   print_row_factors()        behind P's barrier: sRowFactor, what the rows of Q S + P V are multiplied by
//% --
//% -- With z the sum over the tokens before a chunk of k times its decay, in fp32 as all of it is,
//% --
//% --   rowsum_i = 2^(b_i) q_i z + sum of P_ij        z = 2^(b_last) z + K' 2^(b_last - b)
//% local weights = decay and "TO_END" or write and "WRITE"
//% function print_rowsum_enum(at)
  SMEM_Z = $(at),
  ROWSUM_PARTS = 1 + (ROW_BLOCKS + 1) / 2, /* of the state, and of P for each 32 columns */
  SMEM_ROWSUM = SMEM_Z + 4 * 2 * $(K),
  SMEM_ROW_FACTOR = SMEM_ROWSUM + 4 * ROWSUM_PARTS * CHUNK,
//% return "SMEM_ROW_FACTOR + 4 * CHUNK"
//% end
//% function print_rowsum_functions()

/* what a row is divided by */
//% print_code("normaliser", normaliser)
//% if weights and not f32 then print_split2() end

/* q z of a chunk's tokens. Eight lanes look after a token, so a warp after four. */
TILE_FN void rowsums_of_state(float *rowsum, const $(element) *q, const float *z) {
  enum { LANES = 8, WORDS = $(K) / 2 / LANES }; /* a lane's, of two channels each */
  const int lane = tile_lane() % LANES;
  tile_f2 pair_z[WORDS];
  TILE_UNROLL
  for (int i = 0; i < WORDS; i++) pair_z[i] = ld_f32x2(z + 2 * (lane + LANES * i));
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
    float sum = 0.0f;
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
      const $(pair) word = $(ld_pair)(q + row * QK_ROW + 2 * (lane + LANES * i));
      sum += $(lo"word") * pair_z[i].x;
      sum += $(hi"word") * pair_z[i].y;
    }
    TILE_UNROLL
    for (int mask = 1; mask < LANES; mask *= 2) sum += warp_shuffle_xor_f32(sum, mask);
    if (lane == 0) rowsum[row] = sum;
  }
}

//% if weights and f32 then
/* z after a chunk: a warp has 16 channels. The weights of the keys are the upper eight rows of the A
 * operand. */
//% elseif weights then
/* z after a chunk: a warp has 16 channels. The weights of the keys are the A operand, rounded in the
 * upper eight rows, what that leaves in the lower ones. */
//% else
/* z after a chunk: a warp has 16 channels. Ones are the upper eight rows of the A operand. */
//% end
TILE_FN void add_keys($(join("float *next", "const float *z", "const " .. element .. " *k", weights and "const float *weight", decay and "float whole"))) {
  const int lane = tile_lane(), column = 2 * (lane & 3);
  for (int at = 16 * tile_warp(); at < $(K); at += 16 * WARPS) {
    float sum[2][4] = {{0}};
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) {
//% if weights then
      const tile_f2 w0 = ld_f32x2(weight + 16 * jb + column), w1 = ld_f32x2(weight + 16 * jb + 8 + column);
//% if f32 then
      const tile_f2 zero = to_pair(0.0f, 0.0f), a[4] = {w0, zero, w1, zero};
      tile_f2 bk[4];
//% else
      u32 a[4], bk[4];
      split2(w0.x, w0.y, a, a + 1);
      split2(w1.x, w1.y, a + 2, a + 3);
//% end
//% elseif f32 then
      const tile_f2 zero = to_pair(0.0f, 0.0f), one = to_pair(1.0f, 1.0f), a[4] = {one, zero, one, zero};
      tile_f2 bk[4];
//% else
      const u32 one = pack_$(kind)x2(1.0f, 1.0f), a[4] = {one, 0, one, 0};
      u32 bk[4];
//% end
//% local row, first = f32 and "column" or "(lane & 15)", f32 and "(lane >> 2)" or "8 * (lane >> 4)"
      $(load_b_trans("bk", "k + (16 * jb + " .. row .. ") * QK_ROW + " .. first .. " + at", "QK_ROW"));
      mma_m16n8k16_$(kind)(sum[0], a, bk);
      mma_m16n8k16_$(kind)(sum[1], a, bk + 2);
    }
    TILE_UNROLL
    for (int nb = 0; nb < 2; nb++) {
      const int channel = at + 8 * nb + column;
      const tile_f2 old = ld_f32x2(z + channel);
//% local whole = decay and "whole * " or ""
      if (lane < 4)
        st_f32x2(next + channel, $(whole)old.x + (sum[nb][0] + sum[nb][2]),
                 $(whole)old.y + (sum[nb][1] + sum[nb][3]));
    }
  }
}
//% end
//% function print_rowsum_tiles()
  TILE_SMEM(float, sZ, SMEM_Z, 2 * $(K)); /* of this chunk and the next */
  TILE_SMEM(float, sRowsum, SMEM_ROWSUM, ROWSUM_PARTS * CHUNK);
  TILE_SMEM(float, sRowFactor, SMEM_ROW_FACTOR, CHUNK); /* of the rows of O */
//% end
//% function print_rowsum_start()
  for (int i = tile_tid(); i < $(K); i += THREADS) {
    sZ[i] = 0.0f;
    if (a.n0.at$(dk ~= dk_pad and " && i < DK" or ""))
      sZ[i] = a.n0.at[batch * a.n0.batch + head * a.n0.heads / H * a.n0.head + i];
  }
//% end
//% function print_rowsum_end()
  if (a.nt.at$(splits > 1 and " && dv0 == 0" or "")) {
    float *nt = a.nt.at + batch * a.nt.batch + head * a.nt.head;
    for (int i = tile_tid(); i < DK; i += THREADS) nt[i] = sZ[(chunks & 1) * $(K) + i];
  }
//% end
//% function print_rowsums_of_state()

    rowsums_of_state(sRowsum, q, sZ + (n & 1) * $(K));
    add_keys($(join("sZ + ((n + 1) & 1) * " .. K, "sZ + (n & 1) * " .. K, "k", weights and "table + " .. weights, decay and "table[WHOLE]")));
//% end
//% function print_rowsum_of_block()
        float sum0 = 0.0f, sum1 = 0.0f; /* of this lane's columns */
        TILE_UNROLL
        for (int nb = 0; nb < $(chunk == 16 and 2 or 4); nb++) {
          sum0 += p[nb][0] + p[nb][1];
          sum1 += p[nb][2] + p[nb][3];
        }
        TILE_UNROLL
        for (int mask = 1; mask < 4; mask *= 2) {
          sum0 += warp_shuffle_xor_f32(sum0, mask);
          sum1 += warp_shuffle_xor_f32(sum1, mask);
        }
        if (frag_col == 0) {
          float *of_rows = sRowsum + (1 + col_block / 2) * CHUNK;
          of_rows[i0] = sum0;
          of_rows[i1] = sum1;
        }
//% end
//% function print_row_factors()
//% local scaled = scale and " * scale" or ""
//% local weight = read and "table[READ + i]" .. scaled or scale and "scale"
//% local arguments = join(call_code(normaliser, "gate"), "rowsum")
    for (int i = tile_tid(); i < CHUNK; i += THREADS) {
      float sum = $(decay and "table[FROM_START + i] * " or "")sRowsum[i];
      for (int part = 1; part <= 1 + i / 32; part++) sum += sRowsum[part * CHUNK + i];
//% if normaliser.inputs[1] then
      const gate_values gate = load_gate(&a, $(each(inputs, "%")), t0 + i, T);
//% end
//% if weight then
      const float weight = $(weight);
//% end
      const float rowsum = $(weight and "weight * " or "")sum;
      const float divisor = normaliser($(arguments));
      /* a row that sees nothing is 0, not 0/0 */
      sRowFactor[i] = rowsum == 0.0f && divisor == 0.0f ? 0.0f : $(weight and "weight" or "1.0f") / divisor;
    }
    barrier_sync(); /* sRowFactor is complete */
//% end
