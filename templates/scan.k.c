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
//% warps = dv_tile // 16
//% local K = dk == dk_pad and "DK" or "DK_PAD" -- columns that the matrix operations see
//% local padded_dv = dv % dv_tile ~= 0
//% local channels = not padded_dv and "DV_TILE" or splits == 1 and "DV" or "channels" -- of a block
//% local pass = padded_dv and splits > 1 and ", channels" or ""
//% local plus_dv0 = splits > 1 and " + dv0" or ""
//% local qk_tile = { row = "QK_ROW", columns = "DK", width = dk, padded = K, padded_width = dk_pad,
//%                   piece = qk_piece }
//% local v_tile = { row = "V_ROW", columns = channels, width = padded_dv and dv or dv_tile,
//%                  padded = "DV_TILE", padded_width = dv_tile, piece = v_piece }
//% -- where the channels of a row program are: q and k in place, what runs over dv in V or its own tile
//% local of, elements = { [v_field] = "sV + stage * V_TILE" }, {}
//% for _, x in ipairs(tiles) do of[x.field] = x.tile .. " + stage * V_TILE" end
//% for _, x in ipairs(output and output.channels or {}) do
//%   if x.field ~= "o" then elements[#elements + 1] = x end
//% end
//% local maps = row_q or row_k or row_v
//% local function output_call(o, half, row)
//%   local values = {}
//%   for i, x in ipairs(elements) do values[i] = kind .. half .. "_f32(" .. x.field .. row .. ")" end
//%   return join(output.per_head and "per_head", o, unpack(values))
//% end
//% local scaled = scale and " * scale" or ""
//% include("templates/tokens.k.c")
//% include("templates/tiles.k.c")
//% include("templates/rows.k.c")
/* $(title)
 *
//% for _, line in ipairs(equations) do
 * $(line)
//% end
 *
 * $(plan)
 * $(floor)
 */
//% vocabulary()

enum {
  DK = $(dk),
//% if dk ~= dk_pad then
  DK_PAD = $(dk_pad), /* as the matrix operations take it; the channels past DK are zero */
//% end
  DV = $(dv),
  DV_TILE = $(dv_tile), /* value channels of a block$(padded_dv and "; those past DV are zero" or "") */
  SPLITS = $(splits), /* blocks a head */
  CHUNK = $(chunk), /* tokens a step */
  STAGES = $(stages), /* chunks of q, k and v in shared memory */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  ROW_BLOCKS = CHUNK / 16,
//% if token or inputs[1] then
  GATE_WARP = ROW_BLOCKS % WARPS, /* the warp with the least of P to compute */
  LANE_TOKENS = $(chunk <= 32 and "1" or "CHUNK / 32"), /* of the gates, a lane of that warp */
//% end

  /* A row of a tile, in elements: 8 more than it has, so that the eight rows that an ldmatrix reads
   * at once lie in different banks. Elements of a chunk's tiles; byte offsets in shared memory. */
  QK_ROW = $(K) + 8,
  V_ROW = DV_TILE + 8,
  P_ROW = CHUNK + 8,
  QK_TILE = CHUNK * QK_ROW,
  V_TILE = CHUNK * V_ROW,
  SMEM_Q = 0,
  SMEM_K = SMEM_Q + 2 * STAGES * QK_TILE,
  SMEM_V = SMEM_K + 2 * STAGES * QK_TILE,
//% local last = "SMEM_V"
//% for _, x in ipairs(tiles) do
  SMEM_$(x.field) = $(last) + 2 * STAGES * V_TILE,
//% last = "SMEM_" .. x.field
//% end
  SMEM_P = $(last) + 2 * STAGES * V_TILE,
  SMEM_O = SMEM_P + 2 * CHUNK * P_ROW,
//% if token then
  SMEM_TABLE = SMEM_O + 2 * V_TILE,
//% print_table_enum()
  SMEM_BYTES = SMEM_TABLE + 2 * 4 * TABLE
//% else
  SMEM_BYTES = SMEM_O + 2 * V_TILE
//% end
};
//% print_tokens()
//% print_row_combine { row_q, row_k, row_v, row_o }
//% if row_q then print_map("q", row_q, qk_tile, q_field, "q") end
//% if row_k then print_map("k", row_k, qk_tile, k_field, "k") end
//% if row_v then print_map("v", row_v, v_tile, v_field, "v") end
//% if row_o then print_map("o", row_o, v_tile, "o", "the output") end
//% if output then

/* a channel of the output, from that of q' S and of the inputs */
//% local inputs_of_output = each(elements, "const float %")
//% if inputs_of_output == "" then inputs_of_output = false end
//% local output_per_head = output.per_head and "const head_values per_head"
TILE_FN float output_value(
    $(join(output_per_head, "const float o", inputs_of_output))) {
//% for _, s in ipairs(output.steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, output.line)
  return $(output.value);
}
//% end
//% print_load("qk", qk_tile, "q or k")
//% print_load("v", v_tile, tiles[1] and "an array over dv" or "v")
//% print_store("o", v_tile, "o")
//% print_sequence_start()

/* rows of the chunk that starts at token `first`: CHUNK, or fewer at the sequence's end */
TILE_FN int chunk_rows(i64 T, i64 first) { return T - first < CHUNK ? (int)(T - first) : CHUNK; }

TILE_FN void scale4(float *x, float low, float high) {
  x[0] *= low;
  x[1] *= low;
  x[2] *= high;
  x[3] *= high;
}
//% local function print_loads(indent, first, slot)
$(indent)const int rows = chunk_rows(T, $(first));
$(indent)load_qk(sQ + $(slot) * QK_TILE, a.q.at + q_at, a.q.token, rows);
$(indent)load_qk(sK + $(slot) * QK_TILE, a.$(k_array).at + k_at, a.$(k_array).token, rows);
$(indent)load_v(sV + $(slot) * V_TILE, a.v.at + v_at, a.v.token, rows$(pass));
//% for _, x in ipairs(tiles) do
//% local f = x.field
$(indent)load_v($(x.tile) + $(slot) * V_TILE, a.$(x.array).at + at_$(f), a.$(x.array).token, rows$(pass));
$(indent)at_$(f) += CHUNK * a.$(x.array).token;
//% end
$(indent)q_at += CHUNK * a.q.token;
$(indent)k_at += CHUNK * a.$(k_array).token;
$(indent)v_at += CHUNK * a.v.token;
//% end
//% local function print_state(array, const, statement)
//% local of_head = array == "h0" and "a.h0.heads / H * a.h0.head" or "a.ht.head"
    $(const)float *$(array) = a.$(array).at + batch * a.$(array).batch + head * $(of_head)$(plus_dv0);
    TILE_UNROLL
    for (int n = 0; n < $(K) / 8; n++)
      TILE_UNROLL
      for (int e = 0; e < 4; e++) {
        const int k = 8 * n + frag_col + (e & 1), v = 16 * warp + frag_row + 8 * (e >> 1);
//% if dk ~= dk_pad and padded_dv then
        if (k < DK && v < $(channels)) $(statement);
//% elseif dk ~= dk_pad then
        if (k < DK) $(statement);
//% elseif padded_dv then
        if (v < $(channels)) $(statement);
//% else
        $(statement);
//% end
      }
//% end

TILE_KERNEL($(entry), op_args, THREADS, $(min_blocks)) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
  TILE_SMEM($(element), sQ, SMEM_Q, STAGES * QK_TILE); /* [STAGES][CHUNK][QK_ROW] */
  TILE_SMEM($(element), sK, SMEM_K, STAGES * QK_TILE);
  TILE_SMEM($(element), sV, SMEM_V, STAGES * V_TILE);
//% for _, x in ipairs(tiles) do
  TILE_SMEM($(element), $(x.tile), SMEM_$(x.field), STAGES * V_TILE);
//% end
  TILE_SMEM($(element), sP, SMEM_P, CHUNK * P_ROW);
  TILE_SMEM($(element), sO, SMEM_O, V_TILE);
//% if token then
  TILE_SMEM(float, sTable, SMEM_TABLE, 2 * TABLE); /* of this chunk and the next */
//% end

  const int lane = tile_lane(), warp = tile_warp();
  const int frag_row = lane >> 2, frag_col = 2 * (lane & 3); /* of an mma accumulator */
  /* this lane's row and column of an ldmatrix: A operands, and either operand stored transposed; B
   * stored [n][k] */
  const int a_row = lane & 15, a_col = 8 * (lane >> 4);
  const int b_row = (lane & 7) + 8 * (lane >> 4), b_col = 8 * ((lane >> 3) & 1);

  const int H = (int)a.H, block = (int)tile_block();
//% if splits > 1 then
  const int batch = block / SPLITS / H, head = block / SPLITS % H, dv0 = block % SPLITS * DV_TILE;
//% else
  const int batch = block / H, head = block % H;
//% end
//% if pass ~= "" then
  const int channels = DV - dv0 < DV_TILE ? DV - dv0 : DV_TILE; /* of this block */
//% end
//% print_sequence()
  const int chunks = (int)((T + CHUNK - 1) / CHUNK);
  /* element offsets of the next chunk to load and to store */
  i64 q_at = $(first_of("a.q"));
  i64 k_at = $(first_of("a." .. k_array));
  i64 v_at = $(first_of("a.v"))$(plus_dv0);
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head$(plus_dv0);
//% for _, x in ipairs(tiles) do
  i64 at_$(x.field) = $(first_of("a." .. x.array))$(plus_dv0);
//% end
//% print_per_head("  ")
//% print_channel_params(plus_dv0)
//% if scale then
//% for _, s in ipairs(scale.steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, scale.line)
  const float scale = $(scale.value);
//% end

  /* rows 16 warp .. 16 warp + 15 of S' (dv), all columns of dk, as mma accumulators */
  float state[$(K) / 8][4] = {{0}};
  if (a.h0.at) {
//% print_state("h0", "const ", "state[n][e] = h0[k * a.h0.token + v]")
  }

  for (int i = 0; i < STAGES - 1; i++) {
    if (i * CHUNK < T) {
//% print_loads("      ", "i * CHUNK", "i")
    }
    cp_async_commit();
  }
//% if inputs[1] then
//% print_gate_pointers()
  gate_values gate[LANE_TOKENS] = {{0}}; /* GATE_WARP: of this lane's tokens in the next chunk */
//% end
//% if constant then
  const float log2_factor = log2_decay($(call_code(decay, ""))); /* the same for every token */
//% end
//% if token then
  if (warp == GATE_WARP) {
    const i64 t = LANE_TOKENS * lane;
//% print_load_gates("    ", "t")
    token_table($(join("sTable", table_arguments, "t, T")));
//% print_load_gates("    ", "t + CHUNK")
  }
//% end

  int stage = 0;
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK;
    const $(element) *q = sQ + stage * QK_TILE, *k = sK + stage * QK_TILE;
    /* the warp's 16 columns of V, for ldmatrix with transposition */
    const $(element) *v = sV + stage * V_TILE + a_row * V_ROW + 16 * warp + a_col;
//% if token then
    const float *table = sTable + (n & 1) * TABLE;
//% end

    cp_async_wait(STAGES - 2);
    barrier_sync(); /* chunk n is in shared memory; every warp is done with chunk n - 1 */
    {
      const i64 next = t0 + (STAGES - 1) * CHUNK;
      if (next < T) {
        const int free = stage == 0 ? STAGES - 1 : stage - 1;
//% print_loads("        ", "next", "free")
      }
      cp_async_commit();
    }
    if (n > 0) {
      store_o(a.o.at + o_at, sO, a.o.token, CHUNK$(pass));
      o_at += CHUNK * a.o.token;
    }
//% if token then
    if (warp == GATE_WARP) { /* the next chunk's table, for the tokens that it has */
      const i64 t = t0 + CHUNK + LANE_TOKENS * lane;
      token_table($(join("sTable + ((n + 1) & 1) * TABLE", table_arguments, "t, T")));
    }
//% end

//% if maps then
    {
      const int rows = chunk_rows(T, t0);
//% if row_q then
      $(call_map("q", row_q, q_field, "sQ + stage * QK_TILE", of, "t0", "rows"));
//% end
//% if row_k then
      $(call_map("k", row_k, k_field, "sK + stage * QK_TILE", of, "t0", "rows"));
//% end
//% if row_v then
      $(call_map("v", row_v, v_field, "sV + stage * V_TILE", of, "t0", "rows" .. pass));
//% end
    }
    barrier_sync(); /* q, k and v are what the spec makes of them */
//% end

    /* P: each warp takes 16 rows and blocks of 32 columns that reach the diagonal */
    for (int unit = warp; unit < ROW_BLOCKS * ((ROW_BLOCKS + 1) / 2); unit += WARPS) {
      const int row_block = unit % ROW_BLOCKS, col_block = 2 * (unit / ROW_BLOCKS); /* of 16 */
      if (col_block <= row_block) {
        const $(element) *q_rows = q + (16 * row_block + a_row) * QK_ROW + a_col;
        const $(element) *k_rows = k + (16 * col_block + b_row) * QK_ROW + b_col;
        float p[4][4] = {{0}};
        TILE_UNROLL
        for (int kb = 0; kb < $(K) / 16; kb++) {
          u32 aq[4], bk[4];
          ldmatrix_x4(aq, q_rows + 16 * kb);
          ldmatrix_x4(bk, k_rows + 16 * kb);
          mma_m16n8k16_$(kind)(p[0], aq, bk);
          mma_m16n8k16_$(kind)(p[1], aq, bk + 2);
          if (col_block < row_block) {
            ldmatrix_x4(bk, k_rows + 16 * QK_ROW + 16 * kb);
            mma_m16n8k16_$(kind)(p[2], aq, bk);
            mma_m16n8k16_$(kind)(p[3], aq, bk + 2);
          }
        }
        const int i0 = 16 * row_block + frag_row, i1 = i0 + 8;
//% if decay then
        const float b0 = table[SUM + i0], b1 = table[SUM + i1];
//% end
        TILE_UNROLL
        for (int nb = 0; nb < $(chunk == 16 and 2 or 4); nb++) {
          const int j = 16 * col_block + 8 * nb + frag_col;
//% if write then
          const tile_f2 w = ld_f32x2(table + WRITE + j);
          p[nb][0] *= w.x;
          p[nb][1] *= w.y;
          p[nb][2] *= w.x;
          p[nb][3] *= w.y;
//% end
//% if decay then
          const tile_f2 b = ld_f32x2(table + SUM + j);
          /* by select: 2^x overflows above the diagonal */
          p[nb][0] = j <= i0 ? p[nb][0] * tile_exp2(b0 - b.x) : 0.0f;
          p[nb][1] = j + 1 <= i0 ? p[nb][1] * tile_exp2(b0 - b.y) : 0.0f;
          p[nb][2] = j <= i1 ? p[nb][2] * tile_exp2(b1 - b.x) : 0.0f;
          p[nb][3] = j + 1 <= i1 ? p[nb][3] * tile_exp2(b1 - b.y) : 0.0f;
//% else
          p[nb][0] = j <= i0 ? p[nb][0] : 0.0f;
          p[nb][1] = j + 1 <= i0 ? p[nb][1] : 0.0f;
          p[nb][2] = j <= i1 ? p[nb][2] : 0.0f;
          p[nb][3] = j + 1 <= i1 ? p[nb][3] : 0.0f;
//% end
          st_u32(sP + i0 * P_ROW + j, pack_$(kind)x2(p[nb][0], p[nb][1]));
          st_u32(sP + i1 * P_ROW + j, pack_$(kind)x2(p[nb][2], p[nb][3]));
        }
      }
    }

    /* O = Q S: the accumulators of S' are, rounded, the B fragments of S */
    float out[ROW_BLOCKS][2][4] = {{{0}}};
    TILE_UNROLL
    for (int kb = 0; kb < $(K) / 16; kb++) {
      const float *s0 = state[2 * kb], *s1 = state[2 * kb + 1];
      const u32 lower[2] = {pack_$(kind)x2(s0[0], s0[1]), pack_$(kind)x2(s1[0], s1[1])};
      const u32 upper[2] = {pack_$(kind)x2(s0[2], s0[3]), pack_$(kind)x2(s1[2], s1[3])};
      TILE_UNROLL
      for (int mb = 0; mb < ROW_BLOCKS; mb++) {
        u32 aq[4];
        ldmatrix_x4(aq, q + (16 * mb + a_row) * QK_ROW + a_col + 16 * kb);
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
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) {
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
//% if decay or write then
      const float *weight = table + $(decay and "TO_END" or "WRITE") + 16 * jb + frag_col;
      const tile_f2 d0 = ld_f32x2(weight), d1 = ld_f32x2(weight + 8);
      u32 vt[4];
      vt[0] = pack_$(kind)x2($(kind)lo_f32(vf[0]) * d0.x, $(kind)hi_f32(vf[0]) * d0.y);
      vt[1] = pack_$(kind)x2($(kind)lo_f32(vf[2]) * d0.x, $(kind)hi_f32(vf[2]) * d0.y);
      vt[2] = pack_$(kind)x2($(kind)lo_f32(vf[1]) * d1.x, $(kind)hi_f32(vf[1]) * d1.y);
      vt[3] = pack_$(kind)x2($(kind)lo_f32(vf[3]) * d1.x, $(kind)hi_f32(vf[3]) * d1.y);
//% else
      const u32 vt[4] = {vf[0], vf[2], vf[1], vf[3]};
//% end
      TILE_UNROLL
      for (int nb = 0; nb < $(K) / 16; nb++) {
        u32 bk[4];
        ldmatrix_x4_trans(bk, k + (16 * jb + a_row) * QK_ROW + a_col + 16 * nb);
        mma_m16n8k16_$(kind)(state[2 * nb], vt, bk);
        mma_m16n8k16_$(kind)(state[2 * nb + 1], vt, bk + 2);
      }
    }

    barrier_sync(); /* P is complete; chunk n - 1's output has left sO */
//% if inputs[1] then
    if (warp == GATE_WARP) { /* the gates of the chunk after the next; here, where no shuffle waits */
//% print_load_gates("      ", "t0 + 2 * CHUNK + LANE_TOKENS * lane")
    }
//% end
    TILE_UNROLL
    for (int jb = 0; jb < ROW_BLOCKS; jb++) { /* O += P V; the columns of V are the B operand */
      u32 vf[4];
      ldmatrix_x4_trans(vf, v + 16 * jb * V_ROW);
      TILE_UNROLL
      for (int mb = jb; mb < ROW_BLOCKS; mb++) {
        u32 ap[4];
        ldmatrix_x4(ap, sP + (16 * mb + a_row) * P_ROW + a_col + 16 * jb);
        mma_m16n8k16_$(kind)(out[mb][0], ap, vf);
        mma_m16n8k16_$(kind)(out[mb][1], ap, vf + 2);
      }
    }
    TILE_UNROLL
    for (int mb = 0; mb < ROW_BLOCKS; mb++) {
//% if read then
      const float *read = table + READ + 16 * mb + frag_row;
      const float r0 = read[0]$(scaled), r1 = read[8]$(scaled);
//% end
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
//% if read then
        scale4(out[mb][nb], r0, r1);
//% elseif scale then
        scale4(out[mb][nb], scale, scale);
//% end
        const int at = (16 * mb + frag_row) * V_ROW + 16 * warp + 8 * nb + frag_col;
//% if output then
//% for _, x in ipairs(elements) do
        const u32 $(x.field)0 = ld_u32($(of[x.field]) + at);
        const u32 $(x.field)1 = ld_u32($(of[x.field]) + at + 8 * V_ROW);
//% end
        float *y = out[mb][nb];
        y[0] = output_value($(output_call("y[0]", "lo", 0)));
        y[1] = output_value($(output_call("y[1]", "hi", 0)));
        y[2] = output_value($(output_call("y[2]", "lo", 1)));
        y[3] = output_value($(output_call("y[3]", "hi", 1)));
//% end
        st_u32(sO + at, pack_$(kind)x2(out[mb][nb][0], out[mb][nb][1]));
        st_u32(sO + at + 8 * V_ROW, pack_$(kind)x2(out[mb][nb][2], out[mb][nb][3]));
      }
    }
//% if row_o then
    barrier_sync(); /* chunk n's output is complete, but for the spec's expression */
    $(call_map("o", row_o, "o", "sO", of, "t0", "chunk_rows(T, t0)" .. pass));
//% end
    if (++stage == STAGES) stage = 0;
  }

  barrier_sync(); /* the last chunk's output is complete */
  if (chunks > 0) /* a packed sequence may be empty */
    store_o(a.o.at + o_at, sO, a.o.token, chunk_rows(T, (i64)(chunks - 1) * CHUNK)$(pass));
  if (a.ht.at) {
//% print_state("ht", "", "ht[k * a.ht.token + v] = state[n][e]")
  }
}
