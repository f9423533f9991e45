//% -- SPDX-License-Identifier: MIT
//% -- args.k.c - what a kernel is given: its arguments, what is read of them once a head and once a
//% -- token, and the functions of the spec's expressions.
//% --
//% -- In: arrays, inputs, per_head, element, kind, spec (gen/emit.h). Out: functions of Lua that print
//% --
//% --   print_args()              op_args, head_values, gate_values
//% --   print_load_gate(past_end) load_gate; past_end: also for tokens past the sequence's end, T
//% --   print_per_head(indent)    the declaration of per_head in the kernel
//% --   print_code(name, code)    NAME, the function of one piece of code
//% --
//% -- to_f32(text, field), an element of that array as a number, and gate_parameters of load_gate.
//% local strides_of = { NHkv = "slot, unused, head, slots", NHk = "slot, unused, head, slots",
//%                      BSHkv = "batch, slot, head, heads",
//%                      NSHkv = "entry, slot, head, entries" }
//% local type_of = {}
//% for _, x in ipairs(arrays) do type_of[x.field] = x.type end
//% function to_f32(text, field)
//%   if kind == "f32" or type_of[field] == "const float" then return text end
//%   return kind .. "lo_f32((u32)" .. text .. ")"
//% end
//% local pointers = {}
//% for i, x in ipairs(inputs) do pointers[i] = type_of[x.field] .. " *" .. x.field end
//% gate_parameters = join(unpack(pointers))
//% function print_args()

/* Strides are in elements. Head h of the output reads head h * heads / H of an array. */
typedef struct op_args {
  i64 B, T, H;
//% for _, x in ipairs(arrays) do
//% local strides = strides_of[x.axes] or "batch, token, head, heads"
  struct { $(x.type) *at; i64 $(strides); } $(x.field); /* $(x.comment) */
//% end
//% if max_levels then
  i64 L; /* levels; a state has L - 1 slots */
  char *workspace;
//% end
} op_args;
//% if per_head[1] then

/* What the spec's expressions read once a head. */
typedef struct head_values {
//% for _, x in ipairs(per_head) do
  float $(x.field);
//% end
} head_values;
//% end
//% if inputs[1] then

/* What the spec's expressions read once a token. */
typedef struct gate_values {
//% for _, x in ipairs(inputs) do
  float $(x.field);
//% end
} gate_values;
//% end
//% end
//% function print_load_gate(past_end)
//% if inputs[1] then

/* of token t$(past_end and (max_levels and "; zeros outside the sequence" or "; zeros past the sequence's end") or "") */
TILE_FN gate_values load_gate(const op_args *a, $(gate_parameters), i64 t$(past_end and ", i64 T" or "")) {
  gate_values gate;
//% if past_end then
  const int inside = $(max_levels and "t >= 0 && " or "")t < T;
//% end
//% for _, x in ipairs(inputs) do
//% local value = to_f32(x.field .. "[t * a->" .. x.field .. ".token]", x.field)
  gate.$(x.field) = $(past_end and "inside ? " .. value .. " : 0.0f" or value);
//% end
  return gate;
}
//% end
//% end
//% function print_per_head(indent)
//% if per_head[1] then
$(indent)head_values per_head;
//% for _, x in ipairs(per_head) do
//% if x.of then
$(indent)per_head.$(x.field) = (float)$(x.of);
//% else
$(indent)per_head.$(x.field) = a.$(x.field).at[head * a.$(x.field).heads / H * a.$(x.field).head];
//% end
//% end
//% end
//% end
//% function print_code(name, code)
//% local text = join(code.per_head and "const head_values per_head",
//%   code.inputs[1] and "const gate_values gate",
//%   code.channels[1] and each(code.channels, "const float %"),
//%   code.rows[1] and each(code.rows, "const float %"))
TILE_FN float $(name)($(text == "" and "void" or text)) {
//% for _, s in ipairs(code.steps) do
//% at(spec, s.line)
  const float $(s.name) = $(s.text);
//% end
//% at(spec, code.line)
  return $(code.value);
}
//% end
