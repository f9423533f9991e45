//% -- SPDX-License-Identifier: MIT
//% -- tokens.k.c - what a kernel is given (args.k.c), and what the spec's scalars make of each token.
//% --
//% -- In: chunk, arrays, inputs, per_head, channel_params, decay, write, read (gen/emit.h); for a delta
//% -- rule erase, erase_before and besides (delta.k.c; other templates set them, and delta, to false);
//% -- from the template the constants CHUNK and LANE_TOKENS, the tokens of a chunk that a lane of one warp looks
//% -- after.
//% -- Out: functions of Lua that print
//% --
//% --   print_table_enum()        constants: the rows of the token table, TABLE its floats
//% --   print_tokens()            op_args, head_values, gate_values, load_gate, log2_decay,
//% --                             write_weight, read_weight, erase_weight, token_table
//% --   print_log2_decay(code, summed)    log2_decay alone; summed: differences of sums are taken
//% --   print_gate_pointers(), print_channel_params(plus_dv0)   declarations in the
//% --                             kernel; plus_dv0: " + dv0" where a block begins elsewhere in dv
//% --   print_load_gates(indent, first)   the gates of a lane's tokens from `first` on
//% --
//% --   print_sequence_start(), print_sequence()   the function, and in the kernel first and T: the
//% --                             first token of the block's sequence, and how many it has
//% --
//% -- and since(b, row, column): the text of the log2 decay from token j, of a table's column .x or .y,
//% -- through a row's token 0 or 1; first_of(array): the text of the element offset of that token in an array of this head;
//% -- token: whether anything varies from token to token, so that there is a token table;
//% -- constant: the decay is the same for all tokens; table_arguments of a call of token_table.
//% --
//% -- With b_i the sum of the log2 decay from the chunk's start through token i, the token table of a
//% -- chunk holds b_i, 2^b_i and 2^(b_last - b_i), the weights of the roles, and 2^b_last.
//% --
//% -- A reset is a large term of such sums, from which fp32 leaves too little of the small ones for an op
//% -- in fp32 (f32, of operands.k.c). There b_i is the sum of two: of terms rounded to COARSE, whose sums
//% -- and differences are exact, and of what the rounding leaves, FINE.
//% include("templates/args.k.c")
//% token = (decay or write or read or erase) and true -- something varies from token to token
//% local to_end_writes = write and not delta -- 2^(b_last - b_i) has the write weight in it
//% constant = decay and not decay.inputs[1]
//% local function parameters(code)
//%   local text = join(code.per_head and "const head_values per_head",
//%                     code.inputs[1] and "const gate_values gate",
//%                     code.channels[1] and each(code.channels, "const float %"))
//%   return text ~= "" and text or "void"
//% end
//% function call_code(code, gate)
//%   return join(code.per_head and "per_head", code.inputs[1] and gate)
//% end
//% local table_per_head = write and write.per_head or read and read.per_head or
//%                        erase and erase.per_head or besides and besides.per_head or
//%                        decay and not constant and decay.per_head
//% local table_parameters = join("float *table", table_per_head and "const head_values per_head",
//%   inputs[1] and "const gate_values *gate", constant and "float log2_factor", "i64 t", "i64 T")
//% table_arguments = join(table_per_head and "per_head", inputs[1] and "gate",
//%                        constant and "log2_factor")
//% local function print_log2(name, code)
TILE_FN float $(name)($(parameters(code))) {
//% for _, s in ipairs(code.steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, code.line)
  const float x = LOG2_E * $(code.atom and code.value or "(" .. code.value .. ")");
  return x < LOG2_ZERO ? LOG2_ZERO : x;
}
//% end
//% function since(b, row, column)
//%   local sum = b .. row .. " - b." .. column
//%   if not f32 then return sum end
//%   local fine = b == "b" and "fine" or b .. "_fine"
//%   return "(" .. sum .. ") + (" .. fine .. row .. " - fine." .. column .. ")"
//% end
//% function print_table_enum()
//% local rows = 0
//% local function row()
//%   rows = rows + 1
//%   return rows == 1 and "0" or rows == 2 and "TABLE_ROW" or rows - 1 .. " * TABLE_ROW"
//% end

  /* a chunk's token table, in floats */
  TABLE_ROW = 32 * LANE_TOKENS,
//% if decay then
  SUM = $(row()), /* b_i$(f32 and ", but for the fine part" or "") */
//% if f32 then
  FINE = $(row()), /* the fine part of b_i */
//% end
  FROM_START = $(row()), /* 2^b_i */
  TO_END = $(row()), /* 2^(b_last - b_i)$(to_end_writes and ", times the write weight" or "") */
//% if erase_before then
  BEFORE = $(row()), /* b_i without the decay that acts after e_i' S is read */
//% if f32 then
  BEFORE_FINE = $(row()), /* the fine part of it */
//% end
//% end
//% if delta then
  OLD = $(row()), /* the weight of e_i' S, S the state at the chunk's start */
//% end
//% end
//% if write then
  WRITE = $(row()), /* the weight of $(delta and "v_i" or "k_i v_i'") */
//% end
//% if erase then
  ERASE = $(row()), /* the weight of e_i */
//% end
//% if read then
  READ = $(row()), /* the weight of q_i */
//% end
//% if decay then
  WHOLE = $(row()), /* 2^b_last, one number */
  TABLE = WHOLE + 16,
//% else
  TABLE = $(row()),
//% end
//% end
//% function print_log2_decay(decay, summed)

/* log2 of one token's decay factor, $(decay.text).
 * A factor below 2^-126 is exactly 0 (2^x flushes), so LOG2_ZERO stands for all of them$(summed and ": sums of it" or ". */")
//% if summed then
 * stay small enough for exact differences. */
//% end
#define LOG2_E 1.4426950408889634f
#define LOG2_ZERO -160.0f
//% print_log2("log2_decay", decay)
//% end
//% function print_tokens()
//% print_args()
//% print_load_gate(true)
//% if decay then print_log2_decay(decay, true) end
//% if decay and f32 then

/* x, at most 0 and at least LOG2_ZERO, rounded to a multiple of 2^-8 */
TILE_FN float coarse(float x) { return (x + 49152.0f) - 49152.0f; }
//% end
//% if besides then

/* the same without the factor that erases, which reads the state before it decays it */
//% print_log2("log2_besides", besides)
//% end
//% for _, f in ipairs { { write, "write_weight", "k and v" }, { erase, "erase_weight", "e and k" },
//%                      { read, "read_weight", "q" } } do
//% if f[1] then

/* what the spec multiplies $(f[3]) of a token by */
TILE_FN float $(f[2])($(parameters(f[1]))) {
//% for _, s in ipairs(f[1].steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, f[1].line)
  return $(f[1].value);
}
//% end
//% end
//% if token then

/* One warp: the token table of a chunk; t is this lane's first token of LANE_TOKENS. A lane past the
 * chunk (of 16 tokens) fills the end of each row, which nobody reads. */
TILE_FN void token_table($(table_parameters)) {
  const int first = LANE_TOKENS * tile_lane();
//% if to_end_writes then
  float weight[LANE_TOKENS];
//% end
//% if decay then
  float b[LANE_TOKENS], sum = 0.0f;
//% end
//% if decay and f32 then
  float fine[LANE_TOKENS], fine_sum = 0.0f;
//% end
//% if erase_before then
  float b_before[LANE_TOKENS];
//% end
//% if erase_before and f32 then
  float fine_before[LANE_TOKENS];
//% end
//% if erase and decay then
  float erased[LANE_TOKENS]; /* the weights of e */
//% end
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) {
    const int inside = $(max_levels and "t + e >= 0 && " or "")t + e < T;
//% if to_end_writes then
    weight[e] = inside ? write_weight($(call_code(write, "gate[e]"))) : 0.0f;
    table[WRITE + first + e] = weight[e];
//% elseif write then
    table[WRITE + first + e] = inside ? write_weight($(call_code(write, "gate[e]"))) : 0.0f;
//% end
//% if erase and decay then
    erased[e] = inside ? erase_weight($(call_code(erase, "gate[e]"))) : 0.0f;
    table[ERASE + first + e] = erased[e];
//% elseif erase then
    table[ERASE + first + e] = inside ? erase_weight($(call_code(erase, "gate[e]"))) : 0.0f;
//% end
//% if read then
    table[READ + first + e] = inside ? read_weight($(call_code(read, "gate[e]"))) : 0.0f;
//% end
//% if erase_before and f32 and besides then
    const float others = inside ? log2_besides($(call_code(besides, "gate[e]"))) : 0.0f;
    b_before[e] = sum + coarse(others);
    fine_before[e] = fine_sum + (others - coarse(others));
//% elseif erase_before and f32 then
    b_before[e] = sum;
    fine_before[e] = fine_sum;
//% elseif erase_before then
    b_before[e] = sum$(besides and " + (inside ? log2_besides(" .. call_code(besides, "gate[e]") .. ") : 0.0f)" or "");
//% end
//% local log2_of_token = decay and (constant and "log2_factor" or "log2_decay(" .. call_code(decay, "gate[e]") .. ")")
//% if decay and f32 then
    const float x = inside ? $(log2_of_token) : 0.0f;
    sum += coarse(x);
    b[e] = sum;
    fine_sum += x - coarse(x);
    fine[e] = fine_sum;
//% elseif decay then
    sum += inside ? $(log2_of_token) : 0.0f;
    b[e] = sum;
//% end
  }
//% if decay then
  TILE_UNROLL
  for (int distance = 1; distance < 32; distance *= 2) {
    const float below = warp_shuffle_up_f32(sum, distance);
    if (tile_lane() >= distance) sum += below;
//% if f32 then
    const float fine_below = warp_shuffle_up_f32(fine_sum, distance);
    if (tile_lane() >= distance) fine_sum += fine_below;
//% end
  }
  const float below = warp_shuffle_up_f32(sum, 1), before = tile_lane() > 0 ? below : 0.0f;
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) b[e] += before;
//% if f32 then
  const float fine_below = warp_shuffle_up_f32(fine_sum, 1);
  const float before_fine = tile_lane() > 0 ? fine_below : 0.0f;
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) fine[e] += before_fine;
//% end
//% if erase_before then
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) b_before[e] += before;
//% end
//% if erase_before and f32 then
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) fine_before[e] += before_fine;
//% end
  const float last = warp_shuffle_idx_f32(b[LANE_TOKENS - 1], CHUNK / LANE_TOKENS - 1);
//% if f32 then
  const float last_fine = warp_shuffle_idx_f32(fine[LANE_TOKENS - 1], CHUNK / LANE_TOKENS - 1);
//% end
  TILE_UNROLL
  for (int e = 0; e < LANE_TOKENS; e++) {
//% local of_fine = f32 and " + fine[e]" or ""
    table[SUM + first + e] = b[e];
//% if f32 then
    table[FINE + first + e] = fine[e];
//% end
    table[FROM_START + first + e] = tile_exp2(b[e]$(of_fine));
    table[TO_END + first + e] = tile_exp2($(f32 and "(last - b[e]) + (last_fine - fine[e])" or "last - b[e]"))$(to_end_writes and " * weight[e]" or "");
//% local times_erased = erase and " * erased[e]" or ""
//% if erase_before then
    table[BEFORE + first + e] = b_before[e];
//% if f32 then
    table[BEFORE_FINE + first + e] = fine_before[e];
//% end
    table[OLD + first + e] = tile_exp2(b_before[e]$(f32 and " + fine_before[e]" or ""))$(times_erased);
//% elseif delta then
    table[OLD + first + e] = tile_exp2(b[e]$(of_fine))$(times_erased);
//% end
  }
  if (tile_lane() == 0) table[WHOLE] = tile_exp2(last$(f32 and " + last_fine" or ""));
//% end
}
//% end
//% end
//% function print_channel_params(plus_dv0)
//% for _, x in ipairs(channel_params) do
//% local f = "a." .. x.field
  const float *$(x.field) = $(f).at + head * $(f).heads / H * $(f).head$(x.over == "dv" and plus_dv0 or "");
//% end
//% end
//% function print_gate_pointers()
//% for _, x in ipairs(inputs) do
//% local f = "a." .. x.field
  const $(x.fp32 and "float" or element) *$(x.field) = $(f).at + $(first_of(f));
//% end
//% end
//% -- the element offset of the first token of this block's sequence and head in an array
//% function first_of(array)
//%   return ("batch * A.batch + first * A.token + head * A.heads / H * A.head"):gsub("A", array)
//% end
//% function print_sequence_start()

/* The first token of sequence n of a packed batch; a wrong number is moved into the arrays. */
TILE_FN i64 sequence_start(const op_args *a, i64 n) {
  const i64 at = n * a->cu_seqlens.batch;
  i64 start;
  if (a->cu_seqlens.heads == 8)
    start = ((const i64 *)a->cu_seqlens.at)[at];
  else
    start = ((const int *)a->cu_seqlens.at)[at];
  return start < 0 ? 0 : start < a->T ? start : a->T;
}
//% end
//% function print_sequence()
  /* the tokens of this block's sequence: a row of the batch, or a part of a packed one */
  i64 first = 0, T = a.T;
  if (a.cu_seqlens.at) {
    first = sequence_start(&a, batch);
    T = sequence_start(&a, batch + 1) - first;
    if (T < 0) T = 0; /* the numbers decrease */
  }
//% end
//% function print_load_gates(indent, first)
//% if inputs[1] then
$(indent)TILE_UNROLL
$(indent)for (int e = 0; e < LANE_TOKENS; e++)
$(indent)  gate[e] = load_gate(&a, $(each(inputs, "%")), $(first) + e, T);
//% end
//% end
