//% -- SPDX-License-Identifier: MIT
//% -- vectors.k.c - the values over the channels of a token (gen/row_code.h), computed by one warp
//% -- from global memory.
//% --
//% -- In: arrays, inputs (args.k.c); token_number, the text of the number of token i; deeper, what the
//% -- kernel's loops are indented by; values, x = { name = "k", text = .., row = { .. } }. Out, of Lua:
//% --
//% --   print_pointers(indent)         declarations: where the inputs of this head begin
//% --   print_combine(lists, sums)     warp_sum and warp_max, where a value in the lists wants them; the
//% --                                  former also where sums says so
//% --   print_vector(x)                the functions of a value
//% --   print_channels(x, span, store) its computation for token i, in the kernel;
//% --                                  store(value, inside) prints what is done with channel c: value is
//% --                                  zero past the array's end, inside is for where that is excluded
//% --   code_call(name, code, at)      a call of one piece of code; at(y) is the text of channel y
//% --
//% -- span = { first = "dv0 + ", count = 64, inside = "c < channels" }: of the array from channel
//% -- `first` on, `count` channels with what is past its end; inside: the condition for a channel to
//% -- be there, or false where all are. o reads Y of the token's record in shared memory.
//% function print_pointers(indent)
//% for _, x in ipairs(arrays) do
//% if x.field:match("^in_") then
$(indent)$(x.type) *$(x.field) = a.$(x.field).at + batch * a.$(x.field).batch +
$(indent)    head * a.$(x.field).heads / H * a.$(x.field).head;
//% elseif x.axes == "Hk" or x.axes == "Hv" or x.axes == "HL" then
$(indent)$(x.type) *$(x.field) = a.$(x.field).at + head * a.$(x.field).heads / H * a.$(x.field).head;
//% end
//% end
//% end
//% -- nothing is computed: the value is a channel as it is
//% local function is_element(code)
//%   return code.channels[1] and code.value == code.channels[1].field
//% end
//% function code_call(name, code, at)
//%   if is_element(code) then return at(code.channels[1]) end
//%   local values = {}
//%   for i, x in ipairs(code.channels) do values[i] = at(x) end
//%   return name .. "(" .. join(code.per_head and "per_head", code.inputs[1] and "gate",
//%     values[1] and join(unpack(values)), code.rows[1] and each(code.rows, "%")) .. ")"
//% end
//% function print_vector(x)
//% if #x.row.reductions > 0 or not is_element(x.row.value) then

/* $(x.name): $(x.text) */
//% end
//% for i, r in ipairs(x.row.reductions) do
//% if not is_element(r.term) then
//% print_code(x.name .. "_term" .. i - 1, r.term)

//% end
//% end
//% if not is_element(x.row.value) then print_code(x.name .. "_value", x.row.value) end
//% end
//% function print_combine(lists, sums)
//% local used = { sum = sums }
//% for _, list in ipairs(lists) do
//%   for _, x in ipairs(list) do
//%     for _, r in ipairs(x.row.reductions) do used[r.combine] = true end
//%   end
//% end
//% for _, f in ipairs { { "sum", "x += other" }, { "max", "x = tile_max(x, other)" } } do
//% if used[f[1]] then

/* over the lanes of a warp */
TILE_FN float warp_$(f[1])(float x) {
  TILE_UNROLL
  for (int mask = 1; mask < 32; mask *= 2) {
    const float other = warp_shuffle_xor_f32(x, mask);
    $(f[2]);
  }
  return x;
}
//% end
//% end
//% end
//% local function codes_of(row)
//%   local codes = {}
//%   for _, r in ipairs(row.reductions) do codes[#codes + 1] = r.term end
//%   codes[#codes + 1] = row.value
//%   return codes
//% end
//% -- what the codes of a row read
//% local function reads(row)
//%   local all, seen = { channels = {} }, {}
//%   for _, code in ipairs(codes_of(row)) do
//%     all.gate = all.gate or code.inputs[1] ~= nil
//%     for _, x in ipairs(code.channels) do
//%       if not seen[x.field] then all.channels[#all.channels + 1] = x end
//%       seen[x.field] = true
//%       all.token = all.token or not x.param
//%     end
//%   end
//%   return all
//% end
//% -- what stands before a token's value: the token's number and its gates
//% local function print_token_of(x)
//% local all = reads(x.row)
//% if all.gate or all.token then
$(deeper)      const i64 t = $(token_number);
//% end
//% if all.gate then
$(deeper)      const gate_values gate = load_gate(&a, $(each(inputs, "%")), t);
//% end
//% end
//% function print_channels(x, span, store)
//% local all, words = reads(x.row), (span.count + 31) // 32
//% local function load(y)
//%   if y.field == "o" then return "tokens[i * TOKEN + Y + c]" end
//%   local index = (y.param and "" or "t * a." .. y.field .. ".token + ") .. span.first .. "c"
//%   return to_f32(y.field .. "[" .. index .. "]", y.field)
//% end
//% local function select(text, zero)
//%   return span.inside and span.inside .. " ? " .. text .. " : " .. zero or text
//% end
//% local kept = #x.row.reductions > 0 -- channels are kept in registers for several passes
//% local function held(y) return y.field .. "_of[n]" end
//% print_token_of(x)
//% if kept then
//% for _, y in ipairs(all.channels) do
$(deeper)      float $(y.field)_of[$(words)];
//% end
$(deeper)      TILE_UNROLL
$(deeper)      for (int n = 0; n < $(words); n++) {
$(deeper)        const int c = 32 * n + lane;
//% for _, y in ipairs(all.channels) do
$(deeper)        $(held(y)) = $(select(load(y), "0.0f"));
//% end
$(deeper)      }
//% for i, r in ipairs(x.row.reductions) do
//% local row, sum = "row" .. i - 1, r.combine == "sum"
//% local term = code_call(x.name .. "_term" .. i - 1, r.term, held)
$(deeper)      float $(row) = $(sum and "0.0f" or "-3.402823466e38f");
$(deeper)      TILE_UNROLL
$(deeper)      for (int n = 0; n < $(words); n++) {
//% if span.inside then
$(deeper)        const int c = 32 * n + lane;
//% end
//% if sum then
$(deeper)        $(row) += $(select(term, "0.0f"));
//% else
$(deeper)        $(row) = tile_max($(row), $(select(term, row)));
//% end
$(deeper)      }
$(deeper)      $(row) = warp_$(r.combine)($(row));
//% if r.finish ~= "x" then
$(deeper)      $(row) = $((r.finish:gsub("%f[%w]x%f[%W]", row)));
//% end
//% end
//% end
$(deeper)      TILE_UNROLL
$(deeper)      for (int n = 0; n < $(words); n++) {
$(deeper)        const int c = 32 * n + lane;
//% local value = code_call(x.name .. "_value", x.row.value, kept and held or load)
//% store(select(value, "0.0f"), value)
$(deeper)      }
//% end
