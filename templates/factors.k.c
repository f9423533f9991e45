//% -- SPDX-License-Identifier: MIT
//% -- factors.k.c - the decay factors of the channels of dk, and what blocks of 16 tokens make of them.
//% --
//% -- In: channel_decay, decay_inputs, keys, warps (walk.k.c), delta; from the template the constants
//% -- of walk.k.c; of a delta rule, erase and erase_tile, where its erase vector e is: "q", "k" (e times
//% -- the factors has a tile of its own then, sE) or "e"; and D_ROW, the floats of a row of L's blocks.
//% -- Out: functions of Lua, in the order in which a template calls them:
//% --
//% --   print_factor_enum()      constants: the tiles of factors and of the inputs of decays, after last
//% --   print_factor_functions() the functions of C
//% --   print_factor_tiles()     the tiles
//% --   call_decay_factors(), call_decay_keys()   calls
//% --
//% -- and factors, the text of where this chunk's are. Factors are multiplied, never divided, and no
//% -- power of 2 above 1 is formed: what lies before a reset is exactly nothing.
//% -- warps that share a row block of P, or of L, so that none is idle
//% local units, shares = (delta and 2 or 1) * (chunk // 16), 1
//% while shares < 4 and 2 * shares * units <= warps do shares = 2 * shares end
//% -- what computes the factors of a chunk: its parameters and arguments, and the call of log2_decay
//% -- for one channel of the two that a thread takes
//% local code = channel_decay
//% local splits_products = delta and not f32 -- what is computed here is the sum of two 16-bit numbers
//% local staged = decay_inputs[1] and not late_decays
//% local chunks = staged and "STAGES * " or "" -- of factors in shared memory
//% factors = staged and "sF + stage * F_TILE" or "sF" -- of this chunk
//% local parameters, arguments = { "float *factors", "float *of_block" }, { factors, "sBlock" }
//% local function pass(parameter, argument)
//%   parameters[#parameters + 1], arguments[#arguments + 1] = parameter, argument
//% end
//% for i = 2, #decay_inputs do
//%   pass("const float *" .. decay_inputs[i].field, decay_inputs[i].tile .. (staged and " + stage * F_TILE" or ""))
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
//% pass(max_levels and "int skip, int rows" or "int rows",
//%      max_levels and "chunk_skip(t0), chunk_rows(T, t0)" or "chunk_rows(T, t0)")
//% local inside = max_levels and "row >= skip && row < rows" or "row < rows"
//% local function log2_decay(part)
//%   local values = {}
//%   for i, x in ipairs(code.channels) do
//%     values[i] = x.param and x.field .. (part == "x" and "[c]" or "[c + 1]")
//%                 or "pair_" .. x.field .. "." .. part
//%   end
//%   return "log2_decay(" .. join(code.per_head and "per_head", code.inputs[1] and "gate",
//%                                unpack(values)) .. ")"
//% end
//% function call_decay_factors() return "decay_factors(" .. join(unpack(arguments)) .. ")" end
//% function call_decay_keys()
//%   return "decay_keys(" .. join("sQ + stage * QK_TILE", "sK + stage * QK_TILE",
//%     delta and erase_tile == "k" and "sE", delta and erase_tile == "e" and "sE + stage * QK_TILE", splits_products and "sELow, sKLow", factors,
//%     write and not delta and "table + WRITE") .. ")"
//% end
//% function print_factor_enum()
  SHARES = $(shares), /* warps that share 16 rows of P$(delta and " or of L" or "") */

  /* the inputs of the decays, and in place of the first the factors: floats */
  F_ROW = $(K),
  F_TILE = CHUNK * F_ROW,
  SMEM_F = $(last) + $(size) * STAGES * V_TILE,
//% last = "SMEM_F"
//% for i = 2, #decay_inputs do
  SMEM_$(decay_inputs[i].field) = $(last) + 4 * $(chunks)F_TILE,
//% last = "SMEM_" .. decay_inputs[i].field
//% end
  SMEM_BLOCK = $(last) + 4 * $(chunks)F_TILE,
//% last = "SMEM_BLOCK"
//% end
//% -- rows of a block of the product of x and k in which what lies between them decays: of P, 16-bit, or
//% -- of L, floats, strictly below the diagonal
//% local function print_pairwise(name, x, strict)
//% local to = strict and "l" or "p"
//% local weight = strict and erase or not strict and not delta and write

/* One warp: rows of a block of $(to:upper()), each a sum over the channels. A lane has four rows, 4 apart, and
 * with the lanes of the same rows shares the channels. `share`: which rows, of SHARES. The pointers
 * are to the block's first token. */
TILE_FN void $(name)($(strict and "float *l" or splits_products and element .. " *p, " .. element .. " *p_low" or element .. " *p"), const $(element) *$(x), const $(element) *k, const float *factors,
                      $(weight and "const float *weight, " or "")int share) {
  enum { ROWS = 4 / SHARES, LANES = 32 / ROWS }; /* LANES: of the same rows */
  const int row = tile_lane() % ROWS * SHARES + share; /* and row + 4, row + 8, row + 12 */
  float sum[4][16] = {{0}};
  for (int i = tile_lane() / ROWS; i < $(K) / 2; i += LANES) {
    const int channel = 2 * i;
    $(pair) $(x)_word[4];
    TILE_UNROLL
    for (int r = 0; r < 4; r++) $(x)_word[r] = $(ld_pair)($(x) + (4 * r + row) * QK_ROW + channel);
    /* $(x) times the factors of the tokens after s; 0 until s comes back to the row */
    float x[4] = {0}, y[4] = {0};
    TILE_UNROLL
    for (int s = 15; s >= 0; s--) {
      const $(pair) k_word = $(ld_pair)(k + s * QK_ROW + channel);
      const float kx = $(lo"k_word"), ky = $(hi"k_word");
      const tile_f2 f = ld_f32x2(factors + (s < 15 ? s + 1 : s) * F_ROW + channel);
      TILE_UNROLL
      for (int r = s / 4; r < 4; r++) { /* the rows that s can be before, or is */
        if (s < 4 * r + 3) {
          x[r] *= f.x;
          y[r] *= f.y;
        }
        if (r == s / 4) {
          x[r] = s == 4 * r + row ? $(lo(x .. "_word[r]")) : x[r];
          y[r] = s == 4 * r + row ? $(hi(x .. "_word[r]")) : y[r];
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
//% if strict then
    TILE_UNROLL
    for (int r = 0; r < 4; r++) {
      const int i = 4 * r + row;
//% if weight then
      const float w = weight[i];
//% end
//% local w = weight and " * w" or ""
      TILE_UNROLL
      for (int s = 0; s < 16; s += 2)
        st_f32x2(l + i * D_ROW + s, s < i ? sum[r][s]$(w) : 0.0f, s + 1 < i ? sum[r][s + 1]$(w) : 0.0f);
    }
//% else
    TILE_UNROLL
    for (int s = 0; s < 16; s += 2) {
//% local wx, wy = weight and " * w.x" or "", weight and " * w.y" or ""
//% if weight then
      const tile_f2 w = ld_f32x2(weight + s);
//% end
      TILE_UNROLL
//% if splits_products then
      for (int r = 0; r < 4; r++) { /* zeros above the diagonal */
        const int at = (4 * r + row) * P_ROW + s;
        u32 high, low;
        split2(sum[r][s], sum[r][s + 1], &high, &low);
        st_u32(p + at, high);
        st_u32(p_low + at, low);
      }
//% else
      for (int r = 0; r < 4; r++) /* zeros above the diagonal */
        $(st_pair)(p + (4 * r + row) * P_ROW + s, $(pack)(sum[r][s]$(wx), sum[r][s + 1]$(wy)));
//% end
    }
//% end
  }
}
//% end
//% function print_factor_functions()
//% print_log2_decay(channel_decay, false)

/* The decay factors of a chunk's $(max_levels and "rows `skip` to `rows`" or "`rows` tokens")$(decay_inputs[1] and ", in place of the input" or ""), and of each block of 16 their
 * product. A thread takes two channels of a block. $(max_levels and "The other rows" or "Tokens past the end") decay nothing. */
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
      const float x = $(inside) ? $(log2_decay("x")) : 0.0f;
      const float y = $(inside) ? $(log2_decay("y")) : 0.0f;
      st_f32x2(factors + at, tile_exp2(x), tile_exp2(y));
      sum_x += x;
      sum_y += y;
    }
    st_f32x2(of_block + block * $(K) + channel, tile_exp2(sum_x), tile_exp2(sum_y));
  }
}
//% print_pairwise("pairwise", "q", false)
//% if delta then print_pairwise("pairwise_erase", "e", true) end

//% local weight = write and not delta
//% local e_parameter = delta and erase_tile ~= "q" and element .. " *e"
//% local low_parameters = splits_products and element .. " *e_low, " .. element .. " *k_low"
//% -- a pair of elements times x and y, to a tile and, where it is split, to the one of what rounding leaves
//% local function store_decayed(at, low, word)
//%   if splits_products then return "st_decayed(" .. at .. ", " .. low .. ", " .. word .. ", x, y)" end
//%   return st_pair .. "(" .. at .. ", " .. pack .. "(" .. lo(word) .. " * x, " .. hi(word) .. " * y))"
//% end
//% if splits_products then
/* two elements times x and y, each as the sum of two 16-bit numbers */
TILE_FN void st_decayed($(element) *high, $(element) *low, u32 word, float x, float y) {
  u32 h, l;
  split2($(lo"word") * x, $(hi"word") * y, &h, &l);
  st_u32(high, h);
  st_u32(low, l);
}

//% end
//% if delta and erase_tile == "k" then
/* q times the factors from its block's start through its token, in place; e likewise from k; then k
//% if f32 then
 * times those after it to the block's end, in place. */
//% else
 * times those after it to the block's end, in place. What rounding e and k leaves goes to tiles of
 * its own. */
//% end
//% elseif delta then
/* In place: q$(erase_tile == "q" and ", which is e, too," or " and e") times the factors from the block's start through the token, k
 * times those after it to the block's end.$(splits_products and " What rounding e and k leaves goes to tiles of its own." or "") */
//% else
/* In place: q times the factors from its block's start through its token, k times those after it
 * to the block's end$(weight and " and the write weight" or ""). */
//% end
TILE_FN void decay_keys($(join(element .. " *q", element .. " *k", e_parameter, low_parameters, "const float *factors", weight and "const float *weight"))) {
  enum { PAIRS = $(K) / 2 };
  for (int i = tile_tid(); i < ROW_BLOCKS * PAIRS; i += THREADS) {
    const int first = 16 * (i / PAIRS), channel = 2 * (i % PAIRS);
    const float *f_at = factors + first * F_ROW + channel;
//% if delta then
    const int at = first * QK_ROW + channel;
    $(element) *q_at = q + at, *k_at = k + at;
//% else
    $(element) *q_at = q + first * QK_ROW + channel, *k_at = k + first * QK_ROW + channel;
//% end
    float x = 1.0f, y = 1.0f;
    TILE_UNROLL
    for (int n = 0; n < 16; n++) {
      const tile_f2 f = ld_f32x2(f_at + n * F_ROW);
      const $(pair) word = $(ld_pair)(q_at + n * QK_ROW);
      x *= f.x;
      y *= f.y;
//% if delta and erase_tile == "q" then
      $(store_decayed("q_at + n * QK_ROW", "e_low + at + n * QK_ROW", "word"));
//% else
      $(st_pair)(q_at + n * QK_ROW, $(pack)($(lo"word") * x, $(hi"word") * y));
//% end
//% if e_parameter then
//% if f32 then
      const tile_f2 erased = ld_f32x2($(erase_tile) + at + n * QK_ROW);
      $(store_decayed("e + at + n * QK_ROW", "", "erased"));
//% else
      st_decayed(e + at + n * QK_ROW, e_low + at + n * QK_ROW, ld_u32($(erase_tile) + at + n * QK_ROW), x, y);
//% end
//% end
    }
    x = y = 1.0f;
    TILE_UNROLL
    for (int n = 15; n >= 0; n--) {
      const tile_f2 f = ld_f32x2(f_at + n * F_ROW);
      const $(pair) word = $(ld_pair)(k_at + n * QK_ROW);
//% if weight then
      const float w = weight[first + n];
      $(st_pair)(k_at + n * QK_ROW, $(pack)($(lo"word") * (x * w), $(hi"word") * (y * w)));
//% elseif delta then
      $(store_decayed("k_at + n * QK_ROW", "k_low + at + n * QK_ROW", "word"));
//% else
      $(st_pair)(k_at + n * QK_ROW, $(pack)($(lo"word") * x, $(hi"word") * y));
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
//% end
//% function print_factor_tiles()
  TILE_SMEM(float, sF, SMEM_F, $(chunks)F_TILE); /* [$(chunks ~= "" and "STAGES][" or "")CHUNK][F_ROW] */
//% for i = 2, #decay_inputs do
  TILE_SMEM(float, $(decay_inputs[i].tile), SMEM_$(decay_inputs[i].field), $(chunks)F_TILE);
//% end
  TILE_SMEM(float, sBlock, SMEM_BLOCK, ROW_BLOCKS * $(K)); /* factors of blocks of 16 tokens */
//% end
