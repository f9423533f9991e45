//% -- SPDX-License-Identifier: MIT
//% -- step_parts.k.c - what the decode steps share: how a block lies over a state, the values of the
//% -- tokens in shared memory, and what is stored.
//% --
//% -- A block owns one head (and dv_tile of its value channels). A warp holds 16 columns of a state:
//% -- 4 lanes take 4 of them each, 8 rows at a time. So a sum over dk, S' x, is one over a lane's rows
//% -- and then over 8 lanes, and no warp waits for another. The values of up to 8 tokens are computed
//% -- first, a warp a token, into shared memory.
//% --
//% -- In: the plan's slots (gen/schedule_step_slots.c: scalars, rows, columns, normaliser, ...) and
//% -- token_number, the text of the number of token i, and deeper (vectors.k.c). Out, of Lua:
//% --
//% --   warps, dk_rows, ragged, pooled, output, from_f32(text)
//% --   print_sizes()          of the block, and of a token's record in floats
//% --   print_functions()      what the tokens' values are made of, loads, stores, sums
//% --   print_place()          where this block and this lane are
//% --   print_token_values()   the tokens' values into shared memory
//% --   print_load(indent, at) a state into s, print_store(indent, at) back
//% --   print_outputs()        o, from S' q of the tokens
//% include("templates/args.k.c")
//% include("templates/vectors.k.c")
//% include("templates/step_passes.k.c")
//% warps = dv_tile // 16
//% dk_rows = (dk + 7) // 8 * 8
//% -- what a pool has of a sequence; a Fenwick state has slots of its own
//% pooled = weights[1] and "entry" or "slot"
//% ragged = dv % dv_tile ~= 0 or dv % 16 ~= 0
//% output = outputs[1] or false
//% function from_f32(text)
//%   return kind == "f32" and text or "(" .. element .. ")pack_" .. kind .. "x2(" .. text .. ", 0.0f)"
//% end
//% -- whether S' q is scaled (under fenwick the weights of the levels are), and whether there are decays
//% local scaled, decays = false, false
//% for _, op in ipairs(ops) do
//%   scaled = scaled or op.scalar
//%   decays = decays or op.kind:match("^scale")
//% end
//% function print_sizes()
  DK = $(dk),
//% if dk_rows ~= dk then
  DK_ROWS = $(dk_rows), /* those past DK are zero */
//% else
  DK_ROWS = DK,
//% end
  DV = $(dv),
  DV_TILE = $(dv_tile), /* value channels of a block */
  SPLITS = $(splits), /* blocks a head */
  WARPS = DV_TILE / 16,
  THREADS = 32 * WARPS,
  COLUMN_LANES = 4, /* of a warp, side by side, 4 channels each */
  ROW_LANES = 8,
  LANE_ROWS = DK_ROWS / ROW_LANES,
  TOKENS = 8, /* whose values are in shared memory at once */
//% for _, x in ipairs(weights) do
  LEVELS = $(max_levels), /* at most */
//% end

  /* the values of a token, in floats */
//% local last = "0"
//% for _, x in ipairs(rows) do
  $(constant[x.name]) = $(last), /* $(x.text) */
//% last = constant[x.name] .. " + DK_ROWS"
//% end
//% for _, x in ipairs(columns) do
  $(constant[x.name]) = $(last), /* $(x.text) */
//% last = constant[x.name] .. " + DV_TILE"
//% end
  Y = $(last), /* S' q$(scaled and ", scaled" or "") */
//% last = "Y + DV_TILE"
//% for _, x in ipairs(weights) do
  $(constant[x.name]) = $(last), /* $(x.text) */
//% last = constant[x.name] .. " + LEVELS"
//% end
//% for _, x in ipairs(stored) do
  $(constant[x.name]) = $(last), /* $(x.text) */
//% last = constant[x.name] .. " + 1"
//% end
  TOKEN = ($(last) + 3) / 4 * 4,
//% end
//% function print_functions()
//% print_args()
//% print_load_gate()
//% for _, x in ipairs(stored) do

/* $(x.name): $(x.text) */
//% print_code(x.name .. "_value", x.code)
//% end
//% for _, x in ipairs(weights) do
//% if x.factor and not is_number(x.factor) then

/* of $(x.name): the scale */
//% print_code(x.name .. "_factor", x.factor)
//% end
//% end
//% if normaliser then

/* what a row is divided by */
//% print_code("normaliser", normaliser)
//% end
//% print_combine({ rows, columns, outputs, weights }, weights[1] ~= nil)
//% for _, list in ipairs { rows, columns, outputs, weights } do
//% for _, x in ipairs(list) do print_vector(x) end
//% end

/* The $(pooled) of a sequence; -1: it has none, and is skipped. */
TILE_FN i64 $(pooled)_of(const op_args *a, i64 batch) {
  const i64 $(pooled) = a->state_index.at ? (i64)a->state_index.at[batch * a->state_index.batch] : batch;
  return $(pooled) >= 0 && $(pooled) < a->state.$(weights[1] and "entries" or "slots") ? $(pooled) : -1;
}

/* After how many tokens the state is left in place: all, or those that the caller accepted. Below
 * 1: it stays as it is. */
TILE_FN i64 tokens_accepted(const op_args *a, i64 batch) {
  i64 n = a->T;
  if (a->accepted.at) n = (i64)a->accepted.at[batch * a->accepted.batch];
  return n < a->T ? n : a->T;
}

TILE_FN void load_channels(float *ret, const float *from) {
  const tile_f4 x = ld_f32x4(from);
  ret[0] = x.x;
  ret[1] = x.y;
  ret[2] = x.z;
  ret[3] = x.w;
}

/* four channels of a state in memory, $(state_piece) bytes at once */
//% if state_piece == 16 then
TILE_FN void load_state(float *ret, const float *from) { load_channels(ret, from); }

TILE_FN void store_state(float *to, const float *x) { st_f32x4(to, x[0], x[1], x[2], x[3]); }
//% elseif state_piece == 8 then
TILE_FN void load_state(float *ret, const float *from) {
  const tile_f2 low = ld_f32x2(from), high = ld_f32x2(from + 2);
  ret[0] = low.x;
  ret[1] = low.y;
  ret[2] = high.x;
  ret[3] = high.y;
}

TILE_FN void store_state(float *to, const float *x) {
  st_f32x2(to, x[0], x[1]);
  st_f32x2(to + 2, x[2], x[3]);
}
//% else
TILE_FN void load_state(float *ret, const float *from) {
  TILE_UNROLL
  for (int c = 0; c < 4; c++) ret[c] = from[c];
}

TILE_FN void store_state(float *to, const float *x) {
  TILE_UNROLL
  for (int c = 0; c < 4; c++) to[c] = x[c];
}
//% end
//% if decays then

/* A factor of 0 forgets infinities and NaN, too. */
TILE_FN float forget(float x, float factor) { return factor == 0.0f ? 0.0f : factor * x; }
//% end

/* sums of $(normaliser and "five columns" or "four channels") over the lanes that hold their rows; every lane has them */
TILE_FN void sum_over_rows(float *x) {
  TILE_UNROLL
  for (int mask = COLUMN_LANES; mask < 32; mask *= 2)
    TILE_UNROLL
    for (int c = 0; c < $(normaliser and 5 or 4); c++) {
      const float other = warp_shuffle_xor_f32(x[c], mask);
      x[c] += other;
    }
}
//% end
//% function print_place()
  const int lane = tile_lane(), warp = tile_warp();
  const int row_lane = lane / COLUMN_LANES, column = 16 * warp + lane % COLUMN_LANES * 4;
  const int H = (int)a.H, block = (int)tile_block();
//% if splits > 1 then
  const int batch = block / SPLITS / H, head = block / SPLITS % H, dv0 = block % SPLITS * DV_TILE;
//% else
  const int batch = block / H, head = block % H, dv0 = 0;
//% end
  const int channels = $(dv % dv_tile == 0 and "DV_TILE" or "DV - dv0 < DV_TILE ? DV - dv0 : DV_TILE");
//% if ragged then
  const int mine = column < channels; /* other lanes repeat the first columns and store nothing */
  const int first_element = row_lane * DV + dv0 + (mine ? column : 0); /* of a state: the lane's first */
//% else
  const int first_element = row_lane * DV + dv0 + column; /* of a state: the lane's first */
//% end
  const i64 T = a.T, $(pooled) = $(pooled)_of(&a, batch);
  $(element) *o = a.o.at + batch * a.o.batch + head * a.o.head + dv0;
//% end
//% function print_load(indent, at)
$(indent)TILE_UNROLL
$(indent)for (int n = 0; n < LANE_ROWS; n++) {
//% if dk_rows ~= dk then
$(indent)  const int inside = ROW_LANES * n + row_lane < DK;
$(indent)  load_state(s[n], $(at) + (inside ? n * (ROW_LANES * DV) : 0));
$(indent)  TILE_UNROLL
$(indent)  for (int c = 0; c < 4; c++) s[n][c] = inside ? s[n][c] : 0.0f;
//% else
$(indent)  load_state(s[n], $(at) + n * (ROW_LANES * DV));
//% end
$(indent)}
//% end
//% function print_prefetch(indent, at)
$(indent)TILE_UNROLL
$(indent)for (int n = 0; n < LANE_ROWS; n++)
//% if dk_rows ~= dk then
$(indent)  if (ROW_LANES * n + row_lane < DK) tile_prefetch($(at) + n * (ROW_LANES * DV));
//% else
$(indent)  tile_prefetch($(at) + n * (ROW_LANES * DV));
//% end
//% end
//% function print_store(indent, at)
$(indent)TILE_UNROLL
$(indent)for (int n = 0; n < LANE_ROWS; n++) {
//% local conditions = join(dk_rows ~= dk and "ROW_LANES * n + row_lane < DK", ragged and "mine"):gsub(", ", " && ")
//% if conditions == "" then
$(indent)  store_state($(at) + n * (ROW_LANES * DV), s[n]);
//% else
$(indent)  if ($(conditions)) store_state($(at) + n * (ROW_LANES * DV), s[n]);
//% end
$(indent)}
//% end
//% -- a value over channels of every token, into shared memory; it begins with another warp each time
//% local turn = 0
//% local function print_values(x, span)
//% local factor = x.factor and (is_number(x.factor) and x.factor.value or code_call(x.name .. "_factor", x.factor))
//% local n = turn % warps
//% turn = turn + 1
//% local begin = n == 0 and "warp" or "(warp + " .. warps - n .. ") % WARPS"
$(deeper)    for (int i = $(begin); i < count; i += WARPS) {
//% print_channels(x, span, function(value)
//% value = factor and factor .. " * (" .. value .. ")" or value
//% if span.condition then
$(deeper)        if ($(span.condition))
$(deeper)          tokens[i * TOKEN + $(constant[x.name]) + c$(span.offset)] =
$(deeper)              $(value);
//% else
$(deeper)        tokens[i * TOKEN + $(constant[x.name]) + c] =
$(deeper)            $(value);
//% end
//% end)
$(deeper)    }
//% end
//% -- channels as print_channels takes them
//% local of_dk = { first = "", count = dk_rows, inside = dk % 32 ~= 0 and "c < DK",
//%                 condition = dk_rows % 32 ~= 0 and "c < DK_ROWS", offset = "" }
//% local of_tile = { first = "dv0 + ", count = dv_tile,
//%                   inside = (ragged or dv_tile % 32 ~= 0) and "c < channels",
//%                   condition = dv_tile % 32 ~= 0 and "c < DV_TILE", offset = "" }
//% -- all of dv, for sums over it, of which this block keeps its part
//% local of_dv = { first = "", count = dv, inside = dv % 32 ~= 0 and "c < DV",
//%                 condition = "c >= dv0 && c < dv0 + channels", offset = " - dv0" }
//% local of_levels = { first = "", count = 32, inside = "c < levels",
//%                     condition = "c < levels", offset = "" }
//% local function of_columns(x) return splits > 1 and #x.row.reductions > 0 and of_dv or of_tile end
//% function print_token_values()
$(deeper)    /* the values over channels: a warp takes a token, and each begins with another warp */
//% for _, x in ipairs(rows) do print_values(x, of_dk) end
//% for _, x in ipairs(columns) do print_values(x, of_columns(x)) end
//% for _, x in ipairs(weights) do print_values(x, of_levels) end
//% if stored[1] then
$(deeper)    if (tile_tid() >= THREADS - TOKENS && THREADS - 1 - tile_tid() < count) {
$(deeper)      const int i = THREADS - 1 - tile_tid();
//% if inputs[1] then
$(deeper)      const gate_values gate = load_gate(&a, $(each(inputs, "%")), $(token_number));
//% end
//% for _, x in ipairs(stored) do
$(deeper)      tokens[i * TOKEN + $(constant[x.name])] = $(code_call(x.name .. "_value", x.code));
//% end
$(deeper)    }
//% end
$(deeper)    barrier_sync(); /* the values of these tokens are there */
//% end
//% function print_outputs()
$(deeper)    barrier_sync(); /* S' q of these tokens is there */
$(deeper)    for (int i = warp; i < count; i += WARPS) {
//% if output then
//% print_channels(output, of_tile, function(_, value)
$(deeper)        if (c < channels)
$(deeper)          o[($(token_number)) * a.o.token + c] =
$(deeper)              $(from_f32(value));
//% end)
//% else
$(deeper)      for (int c = lane; c < channels; c += 32)
$(deeper)        o[($(token_number)) * a.o.token + c] = $(from_f32("tokens[i * TOKEN + Y + c]"));
//% end
$(deeper)    }
//% end
