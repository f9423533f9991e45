//% -- SPDX-License-Identifier: MIT
//% -- levels.k.c - the weights of a fenwick mask for a chunk's tokens, and where the chunk lies.
//% --
//% -- A pair of tokens at the positions t and s is weighed by the level bit_length(t xor s) of token t.
//% -- Chunks lie on the grid of absolute positions, so inside a chunk the rows' numbers do as well.
//% --
//% -- In: max_levels; level_weight, the expression over levels; level_inputs, the inputs over levels that
//% -- it reads: { field, tile }, the first of which is where the weights are computed in place (an
//% -- expression of params and scalars alone has a tile all the same); from walk.k.c what tokens.k.c has.
//% -- Out: functions of Lua, in the order in which a template and walk.k.c call them:
//% --
//% --   print_level_enum()       constants: the tiles, after `last`
//% --   print_level_functions()  the functions of C
//% --   print_level_tiles()      the tiles
//% --   print_position()         in the kernel: position, offset (of the first token in its chunk), slots
//% --   print_level_start()      the weights of levels that are not there: NaN
//% --   load_levels(indent, first, slot)   starts the copies of a chunk
//% --   levels_map               a function, the text of the call that computes the weights, or false
//% --
//% -- A token that needs a level that is not there has NaN for its output: context is never dropped.
//% local code = level_weight
//% local tiles_of_levels = level_inputs
//% if not tiles_of_levels[1] then tiles_of_levels = { { tile = "sLambda" } } end
//% local loaded_tiles = level_inputs
//% local plain = level_inputs[1] and code.value == level_inputs[1].field
//% local parameters, arguments = { "float *lambda" }, { "sLambda + stage * LEVEL_TILE" }
//% local function pass(parameter, argument)
//%   parameters[#parameters + 1], arguments[#arguments + 1] = parameter, argument
//% end
//% for i = 2, #level_inputs do
//%   local x = level_inputs[i]
//%   pass("const float *" .. x.field, x.tile .. " + stage * LEVEL_TILE")
//% end
//% local values = {}
//% for i, x in ipairs(code.channels) do
//%   if x.param then pass("const float *" .. x.field, x.field) end
//%   values[i] = x.param and x.field .. "[level]"
//%               or (x.field == (level_inputs[1] or {}).field and "lambda" or x.field) .. "[at]"
//% end
//% if code.per_head then pass("const head_values per_head", "per_head") end
//% if code.inputs[1] then
//%   pass("const op_args *a, " .. gate_parameters .. ", i64 t0, i64 T", join("&a", each(inputs, "%"), "t0, T"))
//% end
//% pass("int levels, int skip, int rows", "(int)a.L, skip, rows")
//% function print_level_enum()

  /* the weights of a chunk's rows, a row of levels each; odd, so that rows lie in different banks */
  LEVEL_ROW = $(max_levels + 1),
  LEVEL_TILE = CHUNK * LEVEL_ROW,
  LOG2_CHUNK = $(chunk == 16 and 4 or chunk == 32 and 5 or chunk == 64 and 6 or 7),
//% for i, x in ipairs(tiles_of_levels) do
  SMEM_LEVELS_$(i) = $(last),
//% last = "SMEM_LEVELS_" .. i .. " + 4 * STAGES * LEVEL_TILE"
//% end
//% end
//% function print_level_functions()

/* 0 of 0, 1 of 1, 2 of 2 and 3, ... */
TILE_FN int bit_length(u32 x) { return 32 - tile_clz(x); }
//% if loaded_tiles[1] then

/* weights of a chunk's rows `skip` to `rows`: starts the copy; the others are zeroed, not read */
TILE_FN void load_weights(float *restrict dst, const float *restrict src, i64 stride, int levels,
                          int skip, int rows) {
  const int level = tile_lane(), first = tile_warp();
  if (level >= levels) return;
  TILE_UNROLL
  for (int row = first; row < CHUNK; row += WARPS) {
    const int inside = row >= skip && row < rows;
    const i64 from = inside ? (row - skip) * stride + level : 0;
    cp_async_4(dst + row * LEVEL_ROW + level, src + from, inside ? 4 : 0);
  }
}
//% end
//% if not plain then

/* the weight of a level: $(code.text) */
//% print_code("level_weight", code)

/* the weights of a chunk's rows `skip` to `rows`, in place; the others are zero */
TILE_FN void map_levels($(join(unpack(parameters)))) {
  const int level = tile_lane();
  for (int row = tile_warp(); row < CHUNK; row += WARPS) {
    const int at = row * LEVEL_ROW + level;
//% if code.inputs[1] then
    const gate_values gate = load_gate(a, $(each(inputs, "%")), t0 + row, T);
//% end
    if (level < levels)
      lambda[at] = row >= skip && row < rows ? level_weight($(join(code.per_head and "per_head", code.inputs[1] and "gate", unpack(values)))) : 0.0f;
  }
}
//% end
//% end
//% function print_level_tiles()
//% for i, x in ipairs(tiles_of_levels) do
  TILE_SMEM(float, $(x.tile), SMEM_LEVELS_$(i), STAGES * LEVEL_TILE);$(i == 1 and " /* [STAGES][CHUNK][LEVEL_ROW] */" or "")
//% end
//% end
//% function print_position()
  /* tokens that the sequence has had; so many that no level is left for them count as the least such */
  i64 position = a.position.at ? a.position.at[batch * a.position.batch] : 0;
  if (position < 0) position = 0;
  if (position >> $(max_levels - 1)) position = (1 << $(max_levels - 1)) + position % CHUNK;
  const int offset = (int)(position % CHUNK); /* rows of the first chunk that lie before T = 0 */
  const int slots = (int)a.L - 1;             /* of a state */
//% end
//% function print_level_start()
  for (int i = tile_tid(); i < STAGES * LEVEL_TILE; i += THREADS)
    if (i % LEVEL_ROW >= a.L) sLambda[i] = tile_nan(); /* no such level */
//% for _, x in ipairs(level_inputs) do
  i64 at_$(x.field) = $(first_of("a." .. x.field));
//% end
//% end
//% function load_levels(indent, first, slot)
//% for _, x in ipairs(level_inputs) do
$(indent)load_weights($(x.tile) + $(slot) * LEVEL_TILE, a.$(x.field).at + at_$(x.field), a.$(x.field).token, (int)a.L, skip, rows);
$(indent)at_$(x.field) += (CHUNK - skip) * a.$(x.field).token;
//% end
//% end
//% levels_map = not plain and function() return "map_levels(" .. join(unpack(arguments)) .. ")" end
