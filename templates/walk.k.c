//% -- SPDX-License-Identifier: MIT
//% -- walk.k.c - a block's walk over the chunks of its head: what is the same in every kernel that
//% -- takes the tokens chunk by chunk and keeps 16 rows of S' (dv x dk) a warp in registers.
//% --
//% -- In: the plan's slots; from the template, before it includes this, what tokens.k.c takes and
//% --
//% --   keys   the tiles over dk, k last: { name = "q", field = q_field, array = q_array, row = row_q },
//% --          row: what the spec makes of the tile in place, which may read k's input, too; array:
//% --          false where it is made of other tiles alone
//% --   square_p      P is a product of matrices, chunk x chunk; false: its blocks of 16 on the
//% --                 diagonal are all there is of it
//% --   decay_inputs  the inputs over dk that the decays read, { field, tile }, whose chunks are
//% --                 tiles of floats; the template places them, [STAGES][CHUNK][F_ROW], or
//% --                 [CHUNK][F_ROW] with
//% --   late_decays   they have one tile, and the template says when it is free: print_late_loads()
//% --                 loads the next chunk's; of two stages
//% --
//% -- Where there is a normaliser (the scan's alone), the template includes rowsum.k.c, too.
//% --
//% -- Where there are levels, the chunks lie on the grid of absolute positions: row i of chunk n is
//% -- token n CHUNK - offset + i, and the first chunk lacks its first `offset` rows. The states are the
//% -- template's then: print_last_states() is its function, for their way out, and keeps_state says whether
//% -- it has one in the registers `state`.
//% --
//% -- Out: K, the columns of dk that the matrix operations see; and functions of Lua, in the order
//% -- in which a template calls them:
//% --
//% --   print_title()                the comment on top, the vocabulary
//% --   print_sizes(gate_warp, of)   constants, one of them GATE_WARP, the warp with the least `of`
//% --   print_tile_enum()            constants: sizes and offsets of the tiles of arrays; last: the
//% --                                name of the last one's offset, a V_TILE
//% --   print_functions()            the functions of C
//% --   print_kernel()               the kernel's head, the tiles of arrays
//% --   print_start()                who the block and the lane are, the state, the first loads
//% --   print_chunk()                for (each chunk) {, and all that is done before its arithmetic
//% --   print_late_loads()           see late_decays
//% --   print_next_gates()           loads for the table after the next, once P is complete
//% --   print_output()               out[ROW_BLOCKS][2][4] as the spec wants it, to sO; }
//% --   print_end()                  the last store, the last state
//% warps = dv_tile // 16 * halves
//% K = dk == dk_pad and "DK" or "DK_PAD" -- columns that the matrix operations see
//% local padded_dv = dv % dv_tile ~= 0
//% local channels = not padded_dv and "DV_TILE" or splits == 1 and "DV" or "channels" -- of a block
//% local pass = padded_dv and splits > 1 and ", channels" or ""
//% plus_dv0 = splits > 1 and " + dv0" or ""
//% local qk_tile = { row = "QK_ROW", columns = "DK", width = dk, padded = K, padded_width = dk_pad,
//%                   piece = qk_piece }
//% local f_tile = decay_inputs[1] and { row = "F_ROW", columns = "DK", width = dk, padded = K,
//%                                      padded_width = dk_pad, piece = decay_piece, float = true }
//% local v_tile = { row = "V_ROW", columns = channels, width = padded_dv and dv or dv_tile,
//%                  padded = "DV_TILE", padded_width = dv_tile, piece = v_piece }
//% -- where the channels of a row program are: those of a key in place or in K before it is mapped, what
//% -- runs over dv in V or its own tile
//% local function at_stage(key) return "s" .. key.name:upper() .. " + stage * QK_TILE" end
//% local of, elements, maps = { [v_field] = "sV + stage * V_TILE" }, {}, row_v
//% for _, x in ipairs(keys) do
//%   of[x.field], maps = at_stage(x), maps or x.row
//% end
//% for _, x in ipairs(tiles) do of[x.field] = x.tile .. " + stage * V_TILE" end
//% -- the arrays over dk: the offset, the array, the function that loads it, the tile and its size
//% local loads = {}
//% for _, x in ipairs(keys) do
//%   if x.array then loads[#loads + 1] = { at = x.name .. "_at", array = x.array, load = "load_qk",
//%                                         tile = "s" .. x.name:upper(), size = "QK_TILE" } end
//% end
//% for i, x in ipairs(decay_inputs) do
//%   of[x.field] = x.tile .. (late_decays and "" or " + stage * F_TILE")
//%   loads[#loads + 1] = { at = "at_" .. x.field, array = x.field, load = "load_f", tile = x.tile,
//%                         size = "F_TILE", late = late_decays }
//% end
//% for _, x in ipairs(output and output.channels or {}) do
//%   if x.field ~= "o" then elements[#elements + 1] = x end
//% end
//% local function output_call(o, half, row)
//%   local values = {}
//%   for i, x in ipairs(elements) do values[i] = half(x.field .. row) end
//%   return join(output.per_head and "per_head", o, unpack(values))
//% end
//% -- halves = 2: two warps share 16 columns of V, and each has every second block of 16 rows of O and
//% -- half of the rows of k of a state. So a block has twice the warps, which hide more of each other's
//% -- waits; where few blocks share an SM that is most of what there is to hide.
//% columns_of = halves == 2 and "16 * column" or "16 * warp" -- the first of the warp's
//% warp_blocks = halves == 2 and "ROW_BLOCKS / 2" or "ROW_BLOCKS" -- of 16 rows
//% function block_row(mb) return halves == 2 and "(32 * " .. mb .. " + 16 * half)" or "16 * " .. mb end
//% k_of_warp = halves == 2 and "K_OF_WARP" or K -- rows of k of a state
//% local scaled = scale and " * scale" or ""
//% local minus_offset = max_levels and " - offset" or ""
//% if not max_levels then levels_map = false end
//% include("templates/operands.k.c")
//% include("templates/tokens.k.c")
//% include("templates/tiles.k.c")
//% include("templates/rows.k.c")
//% function print_title()
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
//% end
//% function print_sizes(gate_warp, of)
  DK = $(dk),
//% if dk ~= dk_pad then
  DK_PAD = $(dk_pad), /* as the matrix operations take it; the channels past DK are zero */
//% end
  DV = $(dv),
  DV_TILE = $(dv_tile), /* value channels of a block$(padded_dv and "; those past DV are zero" or "") */
  SPLITS = $(splits), /* blocks a head */
  CHUNK = $(chunk), /* tokens a step */
  STAGES = $(stages), /* chunks of q, k and v in shared memory */
  WARPS = $(halves == 2 and "2 * " or "")DV_TILE / 16,
//% if halves == 2 then
  K_OF_WARP = $(K) / 2, /* rows of k of a state that a warp makes */
//% end
  THREADS = 32 * WARPS,
  ROW_BLOCKS = CHUNK / 16,
//% if token or inputs[1] then
  GATE_WARP = $(gate_warp), /* the warp with the least $(of) to compute */
  LANE_TOKENS = $(chunk <= 32 and "1" or "CHUNK / 32"), /* of the gates, a lane of that warp */
//% end
//% end
//% function print_tile_enum()
//% last = false

  /* A row of a tile, in elements: 8 more than it has, so that the $(f32 and "rows that a warp" or "eight rows that an ldmatrix") reads
   * at once lie in different banks. Elements of a chunk's tiles; byte offsets in shared memory. */
  QK_ROW = $(K) + 8,
  V_ROW = DV_TILE + 8,
  P_ROW = $(square_p and "CHUNK" or 16) + 8,
  QK_TILE = CHUNK * QK_ROW,
  V_TILE = CHUNK * V_ROW,
//% for _, x in ipairs(keys) do
  SMEM_$(x.name:upper()) = $(last and last .. " + " .. size .. " * STAGES * QK_TILE" or "0"),
//% last = "SMEM_" .. x.name:upper()
//% end
  SMEM_V = $(last) + $(size) * STAGES * QK_TILE,
//% last = "SMEM_V"
//% for _, x in ipairs(tiles) do
  SMEM_$(x.field) = $(last) + $(size) * STAGES * V_TILE,
//% last = "SMEM_" .. x.field
//% end
//% end
//% local rows_of = max_levels and "skip, rows" or "rows"
//% local loaded = max_levels and "(CHUNK - skip)" or "CHUNK"
//% local function print_load_of(indent, x, slot)
//% local to = x.late and x.tile or x.tile .. " + " .. slot .. " * " .. x.size
$(indent)$(x.load)($(to), a.$(x.array).at + $(x.at), a.$(x.array).token, $(rows_of));
$(indent)$(x.at) += $(loaded) * a.$(x.array).token;
//% end
//% local function print_loads(indent, first, slot, late)
//% if max_levels then
$(indent)const int skip = chunk_skip($(first)), rows = chunk_rows(T, $(first));
//% else
$(indent)const int rows = chunk_rows(T, $(first));
//% end
//% for _, x in ipairs(loads) do
//%   if late or not x.late then print_load_of(indent, x, slot) end
//% end
$(indent)load_v(sV + $(slot) * V_TILE, a.v.at + v_at, a.v.token, $(rows_of)$(pass));
//% for _, x in ipairs(tiles) do
//% local f = x.field
$(indent)load_v($(x.tile) + $(slot) * V_TILE, a.$(x.array).at + at_$(f), a.$(x.array).token, $(rows_of)$(pass));
$(indent)at_$(f) += $(loaded) * a.$(x.array).token;
//% end
$(indent)v_at += $(loaded) * a.v.token;
//% if max_levels then load_levels(indent, first, slot) end
//% end
//% -- what the block and the lane have of a state's matrix: `statement` for each element, k and v
//% function each_state_element(indent, statement)
$(indent)TILE_UNROLL
$(indent)for (int n = 0; n < $(k_of_warp) / 8; n++)
$(indent)  TILE_UNROLL
$(indent)  for (int e = 0; e < 4; e++) {
$(indent)    const int k = $(halves == 2 and "half * K_OF_WARP + " or "")8 * n + frag_col + (e & 1);
$(indent)    const int v = $(columns_of) + frag_row + 8 * (e >> 1);
//% if dk ~= dk_pad and padded_dv then
$(indent)    if (k < DK && v < $(channels)) $(statement);
//% elseif dk ~= dk_pad then
$(indent)    if (k < DK) $(statement);
//% elseif padded_dv then
$(indent)    if (v < $(channels)) $(statement);
//% else
$(indent)    $(statement);
//% end
$(indent)  }
//% end
//% local function print_state(array, const, statement)
//% local of_head = array == "h0" and "a.h0.heads / H * a.h0.head" or "a.ht.head"
    $(const)float *$(array) = a.$(array).at + batch * a.$(array).batch + head * $(of_head)$(plus_dv0);
//% each_state_element("    ", statement)
//% end
//% function print_functions()
//% print_tokens()
//% print_operand_functions()
//% local rows = { row_v, row_o }
//% for _, x in ipairs(keys) do rows[#rows + 1] = x.row end
//% print_row_combine(rows)
//% for _, x in ipairs(keys) do
//%   if x.row then print_map(x.name, x.row, qk_tile, x.field, x.name) end
//% end
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
//% print_load("qk", qk_tile, keys[3] and "q, k or e" or "q or k")
//% if f_tile then print_load("f", f_tile, "an input of the decays") end
//% print_load("v", v_tile, tiles[1] and "an array over dv" or "v")
//% print_store("o", v_tile, "o")
//% print_sequence_start()

/* rows of the chunk that starts at token `first`: CHUNK, or fewer at the sequence's end */
TILE_FN int chunk_rows(i64 T, i64 first) { return T - first < CHUNK ? (int)(T - first) : CHUNK; }
//% if max_levels then

/* rows of that chunk that lie before the first token */
TILE_FN int chunk_skip(i64 first) { return first < 0 ? (int)-first : 0; }
//% end

TILE_FN void scale4(float *x, float low, float high) {
  x[0] *= low;
  x[1] *= low;
  x[2] *= high;
  x[3] *= high;
}
//% end
//% -- the sum of two 16-bit numbers in place of a float
//% function print_split2()

/* x and y, each as the sum of two 16-bit numbers: `low` has what rounding to `high` leaves */
TILE_FN void split2(float x, float y, u32 *high, u32 *low) {
  *high = pack_$(kind)x2(x, y);
  *low = pack_$(kind)x2(x - $(kind)lo_f32(*high), y - $(kind)hi_f32(*high));
}
//% end
//% function print_kernel()

TILE_KERNEL($(entry), op_args, THREADS, $(min_blocks)) {
  TILE_SMEM_BEGIN(SMEM_BYTES);
//% for i, x in ipairs(keys) do
//% local name = x.name:upper()
  TILE_SMEM($(element), s$(name), SMEM_$(name), STAGES * QK_TILE);$(i == 1 and " /* [STAGES][CHUNK][QK_ROW] */" or "")
//% end
  TILE_SMEM($(element), sV, SMEM_V, STAGES * V_TILE);
//% for _, x in ipairs(tiles) do
  TILE_SMEM($(element), $(x.tile), SMEM_$(x.field), STAGES * V_TILE);
//% end
//% end
//% function print_start()

  const int lane = tile_lane(), warp = tile_warp();
//% if halves == 2 then
  const int column = warp / 2, half = warp % 2; /* the warp's columns of V, and of its rows */
//% end
  const int frag_row = lane >> 2, frag_col = 2 * (lane & 3); /* of an mma accumulator */
//% print_operand_places()

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
//% if max_levels then
//% print_position()
  const int chunks = T > 0 ? (int)((offset + T + CHUNK - 1) / CHUNK) : 0;
//% else
  const int chunks = (int)((T + CHUNK - 1) / CHUNK);
//% end
  /* element offsets of the next chunk to load and to store */
//% for _, x in ipairs(loads) do
  i64 $(x.at) = $(first_of("a." .. x.array));
//% end
  i64 v_at = $(first_of("a.v"))$(plus_dv0);
  i64 o_at = batch * a.o.batch + first * a.o.token + head * a.o.head$(plus_dv0);
//% for _, x in ipairs(tiles) do
  i64 at_$(x.field) = $(first_of("a." .. x.array))$(plus_dv0);
//% end
//% if max_levels then print_level_start() end
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
//% if not max_levels or keeps_state then

//% if halves == 2 then
  /* 16 rows of S' (dv), half the columns of dk, as mma accumulators */
//% else
  /* rows 16 warp .. 16 warp + 15 of S' (dv), all columns of dk, as mma accumulators */
//% end
  float state[$(k_of_warp) / 8][4] = {{0}};
//% end
//% if normaliser then print_rowsum_start() end
//% if not max_levels then
  if (a.h0.at) {
//% print_state("h0", "const ", "state[n][e] = h0[k * a.h0.token + v]")
  }
//% end

  for (int i = 0; i < STAGES - 1; i++) {
    if ($(max_levels and "i < chunks" or "i * CHUNK < T")) {
//% print_loads("      ", "i * CHUNK" .. minus_offset, "i", true)
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
    const i64 t = LANE_TOKENS * lane$(minus_offset);
//% print_load_gates("    ", "t")
    token_table($(join("sTable", table_arguments, "t, T")));
//% print_load_gates("    ", "t + CHUNK")
  }
//% end

  int stage = 0;
//% end
//% function print_chunk()
  for (int n = 0; n < chunks; n++) {
    const i64 t0 = (i64)n * CHUNK$(minus_offset);
    const $(element) *q = sQ + stage * QK_TILE, *k = sK + stage * QK_TILE;
//% if delta then
    const $(element) *e = s$(erase_tile:upper()) + stage * QK_TILE;
//% end
    /* the warp's 16 columns of V, for $(f32 and "operands stored transposed" or "ldmatrix with transposition") */
    const $(element) *v = sV + stage * V_TILE + $(f32 and "t_row" or "a_row") * V_ROW + $(columns_of) + $(f32 and "t_col" or "a_col");
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
//% if max_levels then
      const int skip = chunk_skip(t0 - CHUNK);
      store_o(a.o.at + o_at, sO, a.o.token, skip, CHUNK$(pass));
      o_at += (CHUNK - skip) * a.o.token;
//% else
      store_o(a.o.at + o_at, sO, a.o.token, CHUNK$(pass));
      o_at += CHUNK * a.o.token;
//% end
    }
//% if token then
    if (warp == GATE_WARP) { /* the next chunk's table, for the tokens that it has */
      const i64 t = t0 + CHUNK + LANE_TOKENS * lane;
      token_table($(join("sTable + ((n + 1) & 1) * TABLE", table_arguments, "t, T")));
    }
//% end
//% if maps or levels_map then

    {
//% if max_levels then
      const int skip = chunk_skip(t0), rows = chunk_rows(T, t0);
//% else
      const int rows = chunk_rows(T, t0);
//% end
//% for _, x in ipairs(keys) do
//% if x.row then
      $(call_map(x.name, x.row, x.field, at_stage(x), of, "t0", rows_of));
//% end
//% end
//% if row_v then
      $(call_map("v", row_v, v_field, "sV + stage * V_TILE", of, "t0", rows_of .. pass));
//% end
//% if levels_map then
      $(levels_map());
//% end
    }
    barrier_sync(); /* $(maps and "q, k and v" or "the weights of the levels") are what the spec makes of them */
//% end
//% end
//% function print_late_loads()
    { /* what the next chunk's decays read, where this one's factors were */
      const i64 next = t0 + CHUNK;
      if (next < T) {
        const int $(max_levels and "skip = chunk_skip(next), " or "")rows = chunk_rows(T, next);
//% for _, x in ipairs(loads) do
//%   if x.late then print_load_of("        ", x) end
//% end
      }
      cp_async_commit();
    }
//% end
//% function print_next_gates()
//% if inputs[1] then
    if (warp == GATE_WARP) { /* the gates of the chunk after the next; here, where no shuffle waits */
//% print_load_gates("      ", "t0 + 2 * CHUNK + LANE_TOKENS * lane")
    }
//% end
//% end
//% function print_output()
//% if normaliser then print_row_factors() end
    TILE_UNROLL
    for (int mb = 0; mb < $(warp_blocks); mb++) {
//% if normaliser then
      const float *factor = sRowFactor + $(block_row("mb")) + frag_row;
      const float r0 = factor[0], r1 = factor[8];
//% elseif read then
      const float *read = table + READ + $(block_row("mb")) + frag_row;
      const float r0 = read[0]$(scaled), r1 = read[8]$(scaled);
//% end
      TILE_UNROLL
      for (int nb = 0; nb < 2; nb++) {
//% if read or normaliser then
        scale4(out[mb][nb], r0, r1);
//% elseif scale then
        scale4(out[mb][nb], scale, scale);
//% end
        const int at = ($(block_row("mb")) + frag_row) * V_ROW + $(columns_of) + 8 * nb + frag_col;
//% if output then
//% for _, x in ipairs(elements) do
        const $(pair) $(x.field)0 = $(ld_pair)($(of[x.field]) + at);
        const $(pair) $(x.field)1 = $(ld_pair)($(of[x.field]) + at + 8 * V_ROW);
//% end
        float *y = out[mb][nb];
        y[0] = output_value($(output_call("y[0]", lo, 0)));
        y[1] = output_value($(output_call("y[1]", hi, 0)));
        y[2] = output_value($(output_call("y[2]", lo, 1)));
        y[3] = output_value($(output_call("y[3]", hi, 1)));
//% end
        $(st_pair)(sO + at, $(pack)(out[mb][nb][0], out[mb][nb][1]));
        $(st_pair)(sO + at + 8 * V_ROW, $(pack)(out[mb][nb][2], out[mb][nb][3]));
      }
    }
//% if row_o then
    barrier_sync(); /* chunk n's output is complete, but for the spec's expression */
    $(call_map("o", row_o, "o", "sO", of, "t0", join(max_levels and "chunk_skip(t0)", "chunk_rows(T, t0)") .. pass));
//% end
    if (++stage == STAGES) stage = 0;
  }
//% end
//% function print_end()

  barrier_sync(); /* the last chunk's output is complete */
//% if max_levels then
  if (chunks > 0) { /* a packed sequence may be empty */
    const i64 t0 = (i64)(chunks - 1) * CHUNK - offset;
    store_o(a.o.at + o_at, sO, a.o.token, chunk_skip(t0), chunk_rows(T, t0)$(pass));
  }
//% else
  if (chunks > 0) /* a packed sequence may be empty */
    store_o(a.o.at + o_at, sO, a.o.token, chunk_rows(T, (i64)(chunks - 1) * CHUNK)$(pass));
//% end
//% if not max_levels then
  if (a.ht.at) {
//% print_state("ht", "", "ht[k * a.ht.token + v] = state[n][e]")
  }
//% end
//% if normaliser then print_rowsum_end() end
//% if max_levels then print_last_states() end
}
//% end
