//% -- SPDX-License-Identifier: MIT
//% -- rows.k.c - expressions over the channels of a token (gen/row_code.h), computed in place on a
//% -- tile of a chunk's tokens in shared memory.
//% --
//% -- In: element, operands.k.c, inputs, per_head (tokens.k.c), decay_inputs (walk.k.c), whose tiles
//% -- hold floats;
//% -- tiles as in tiles.k.c; from the template the constants CHUNK and WARPS.
//% -- Out: functions of Lua:
//% --
//% --   print_map(name, row, tile, target, what)   map_NAME and the functions it calls, in C
//% --   call_map(name, row, target, tile, of, t0, rows)   a call; target: the field that is computed
//% --                                              in place in `tile`; of[field]: the others' tiles
//% --   print_row_combine(rows)                    the functions that combine lanes, once
//% --
//% -- Eight lanes look after a token, so a warp after four. A lane has every eighth pair of channels or,
//% -- where the width allows, every eighth eight of them, which move at once.
//% local function each_code(row)
//%   local codes = {}
//%   for _, r in ipairs(row.reductions) do codes[#codes + 1] = r.term end
//%   codes[#codes + 1] = row.value
//%   return codes
//% end
//% -- what the codes of a row read: { channels = {...}, inputs = bool, per_head = bool }
//% local function reads(row)
//%   local all, seen = { channels = {} }, {}
//%   for _, code in ipairs(each_code(row)) do
//%     all.inputs, all.per_head = all.inputs or code.inputs[1] ~= nil, all.per_head or code.per_head
//%     for _, x in ipairs(code.channels) do
//%       if not seen[x.field] then all.channels[#all.channels + 1] = x end
//%       seen[x.field] = true
//%     end
//%   end
//%   return all
//% end
//% local function in_floats(x)
//%   for _, input in ipairs(decay_inputs) do
//%     if input.field == x.field then return true end
//%   end
//% end
//% -- the call of a code's function for one half of the words that a lane holds
//% local function call(name, code, half)
//%   local values, high = {}, half == "hi"
//%   for i, x in ipairs(code.channels) do
//%     values[i] = x.param and x.field .. (high and "[channel + 1]" or "[channel]")
//%                 or in_floats(x) and "pair_" .. x.field .. "[i]" .. (high and ".y" or ".x")
//%                 or (high and hi or lo)("word_" .. x.field .. "[i]")
//%   end
//%   return name .. "(" .. join(code.per_head and "per_head", code.inputs[1] and "gate",
//%     values[1] and join(unpack(values)), code.rows[1] and each(code.rows, "%")) .. ")"
//% end
//% local function has_param(code)
//%   for _, x in ipairs(code.channels) do
//%     if x.param then return true end
//%   end
//%   return false
//% end
//% function print_row_combine(rows)
//% local used = {}
//% for _, row in ipairs(rows) do
//%   for _, r in ipairs(row and row.reductions or {}) do used[r.combine] = true end
//% end
//% for _, f in ipairs { { "sum", "x + other" }, { "max", "tile_max(x, other)" } } do
//% if used[f[1]] then

/* over the eight lanes of a token */
TILE_FN float row_$(f[1])(float x) {
  TILE_UNROLL
  for (int mask = 1; mask < 8; mask *= 2) {
    const float other = warp_shuffle_xor_f32(x, mask);
    x = $(f[2]);
  }
  return x;
}
//% end
//% end
//% end
//% function print_map(name, row, tile, target, what)
//% local all = reads(row)
//% local padded = tile.columns == "channels" or tile.width ~= tile.padded_width
//% local floats = false
//% for _, x in ipairs(all.channels) do floats = floats or in_floats(x) end
//% local vector = tile.padded_width % 64 == 0 and not floats and not f32 and 4 or 1
//% -- of word i: its channel, and that of the first of those that move with it
//% local first = vector == 1 and "lane + LANES * i" or "VECTOR * lane + LANES * (i - i % VECTOR)"
//% local channel = "2 * (" .. first .. (vector > 1 and " + i % VECTOR)" or ")")
//% local function words(field)
//%   return field .. " + row * " .. tile.row .. " + 2 * (" .. first .. ")"
//% end
//% local parameters = { element .. " *" .. target }
//% for _, x in ipairs(all.channels) do
//%   if x.field ~= target then
//%     parameters[#parameters + 1] = (x.param or in_floats(x)) and "const float *" .. x.field
//%                                   or "const " .. element .. " *" .. x.field
//%   end
//% end
//% parameters[#parameters + 1] = join(all.per_head and "const head_values per_head",
//%   all.inputs and "const op_args *a", all.inputs and gate_parameters, all.inputs and "i64 t0, i64 T",
//%   max_levels and "int skip", "int rows", tile.columns == "channels" and "int channels")

/* $(what): the terms of its reductions, and a channel */
//% for i, r in ipairs(row.reductions) do
//% print_code(name .. "_term" .. i - 1, r.term)
//%
//% end
//% print_code(name .. "_value", row.value)

/* $(what) of a chunk's $(max_levels and "rows `skip` to `rows`, row 0 token t0" or "`rows` tokens from t0 on"), in place; the $(max_levels and "others" or "rows past them") become zero */
TILE_FN void map_$(name)($(join(unpack(parameters)))) {
//% if vector == 1 then
  enum { LANES = 8, WORDS = $(tile.padded) / 2 / LANES }; /* a lane's, of two channels each */
//% else
  /* a lane's words, of two channels each, VECTOR of them side by side */
  enum { LANES = 8, WORDS = $(tile.padded) / 2 / LANES, VECTOR = $(vector) };
//% end
  const int lane = tile_lane() % LANES;
  for (int row = 4 * tile_warp() + tile_lane() / LANES; row < CHUNK; row += 4 * WARPS) {
//% if all.inputs then
    const gate_values gate = load_gate(a, $(each(inputs, "%")), t0 + row, T);
//% end
//% for _, x in ipairs(all.channels) do
//% if in_floats(x) then
    tile_f2 pair_$(x.field)[WORDS];
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++)
      pair_$(x.field)[i] = ld_f32x2($(x.field) + row * F_ROW + $(channel));
//% elseif not x.param then
    $(pair) word_$(x.field)[WORDS];
    TILE_UNROLL
//% if vector == 1 then
    for (int i = 0; i < WORDS; i++) word_$(x.field)[i] = $(ld_pair)($(words(x.field)));
//% else
    for (int i = 0; i < WORDS; i += VECTOR)
      ld_u32x4(word_$(x.field) + i, $(words(x.field)));
//% end
//% end
//% end
//% for i, r in ipairs(row.reductions) do
//% local term, x, sum = name .. "_term" .. i - 1, "row" .. i - 1, r.combine == "sum"
//% local indent = padded and "        " or "      "
    float $(x) = $(sum and "0.0f" or "-3.402823466e38f");
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
//% if padded or has_param(r.term) then
      const int channel = $(channel);
//% end
//% if padded then
      if (channel < $(tile.columns)) {
//% end
//% for _, half in ipairs { "lo", "hi" } do
//% local value = call(term, r.term, half)
$(indent)$(x) = $(sum and x .. " + " .. value or "tile_max(" .. x .. ", " .. value .. ")");
//% end
//% if padded then
      }
//% end
    }
    $(x) = row_$(r.combine)($(x));
//% if r.finish ~= "x" then
    $(x) = $((r.finish:gsub("%f[%w]x%f[%W]", x)));
//% end
//% end
//% local value = pack .. "(" .. call(name .. "_value", row.value, "lo") .. ", " ..
//%               call(name .. "_value", row.value, "hi") .. ")"
//% local result = vector == 1 and "result" or "result[i % VECTOR]"
//% if vector > 1 then
    u32 result[VECTOR];
//% end
//% if not padded and not f32 then
    const u32 inside = $(max_levels and "row >= skip && " or "")row < rows ? 0xffffffffu : 0;
//% end
    TILE_UNROLL
    for (int i = 0; i < WORDS; i++) {
//% if padded or has_param(row.value) then
      const int channel = $(channel);
//% end
//% if padded or f32 then
      $(vector == 1 and pair .. " " or "")$(result) = $(f32 and pack .. "(0.0f, 0.0f)" or 0);
      if ($(max_levels and "row >= skip && " or "")row < rows$(padded and " && channel < " .. tile.columns or ""))
        $(result) = $(value);
//% else
      $(vector == 1 and "const u32 " or "")$(result) = inside & $(value);
//% end
//% if vector == 1 then
      $(st_pair)($(words(target)), result);
//% else
      if (i % VECTOR == VECTOR - 1)
        st_u32x4($(words(target)), result[0], result[1], result[2], result[3]);
//% end
    }
  }
}
//% end
//% function call_map(name, row, target, tile, of, t0, rows)
//%   local all = reads(row)
//%   local arguments = { tile }
//%   for _, x in ipairs(all.channels) do
//%     if x.field ~= target then arguments[#arguments + 1] = x.param and x.field or of[x.field] end
//%   end
//%   return "map_" .. name .. "(" .. join(join(unpack(arguments)), all.per_head and "per_head",
//%     all.inputs and "&a", all.inputs and each(inputs, "%"), all.inputs and t0 .. ", T", rows) .. ")"
//% end
