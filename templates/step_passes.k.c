//% -- SPDX-License-Identifier: MIT
//% -- step_passes.k.c - the operations of a token as passes over a state.
//% --
//% -- Operations that need no sum of each other share a pass over the rows: Gated DeltaNet takes two,
//% --
//% --   S = a S, r = S' k        S = S + k (v - beta r)', y = S' q
//% --
//% -- In: scalars, rows, columns, weights, ops (gen/schedule_step_slots.c). Out, of Lua:
//% --
//% --   constant[name]     of a value in a token's record: "K"
//% --   literal[name]      the text of a scalar that is a number, and needs no place there
//% --   stored             the other scalars
//% --   is_number(code)    whether a piece of code is a number
//% --   passes_over(state) the passes: in each what is declared before, read for a row, done for an
//% --                      element x and summed over the rows; passes.scale is what y is multiplied
//% --                      by, or nil. state = { columns = 4 of a lane, 5 with that of v = 1,
//% --                      or 1; writes = whether tokens
//% --                      add what they write }
//% --   print_pass(indent, p, over, declared) one of them in the kernel, over = { count = "LANE_ROWS",
//% --                      element = "s[n][c]", columns, row = a function: the text of row n of a value in
//% --                      the token's record, sum = a function: what sums over the lanes }; declared:
//% --                      what passes before it have declared
//% constant, literal, stored = {}, {}, {}
//% for _, list in ipairs { rows, columns, scalars, weights } do
//%   for _, x in ipairs(list) do constant[x.name] = x.name:upper() end
//% end
//% function is_number(code) return not code.per_head and not code.inputs[1] end
//% for _, x in ipairs(scalars) do
//%   if is_number(x.code) then
//%     literal[x.name] = x.code.value
//%   else
//%     stored[#stored + 1] = x
//%   end
//% end
//% function passes_over(state)
//% local at = state.columns > 1 and "[c]" or ""
//% local passes = {}
//% local function begin_pass()
//%   passes[#passes + 1] = { before = {}, rows = {}, body = {}, sums = {} }
//%   return passes[#passes]
//% end
//% local pass = begin_pass()
//% local function read_row(name)
//%   for _, x in ipairs(pass.rows) do if x == name then return end end
//%   pass.rows[#pass.rows + 1] = name
//% end
//% local function declare(line)
//%   for _, x in ipairs(pass.before) do if x == line and x ~= "TILE_UNROLL" then return end end
//%   pass.before[#pass.before + 1] = line
//% end
//% local function scalar(name)
//%   if literal[name] then return literal[name] end
//%   declare("const float " .. name .. " = token[" .. constant[name] .. "];")
//%   return name
//% end
//% local function column(name)
//%   declare("float " .. name .. "[" .. state.columns .. "];")
//%   declare("load_channels(" .. name .. ", token + " .. constant[name] .. " + column);")
//%   if name == "v" and state.columns == 5 then declare("v[4] = 1.0f;") end
//% end
//% local function sum_text(op, writes)
//%   local text = writes and "v[c]" or ""
//%   for _, x in ipairs(op.sum) do
//%     local sign = text == "" and (x.minus and "-" or "") or x.minus and " - " or " + "
//%     text = text .. sign .. (x.scalar and scalar(x.scalar) .. " * " or "") .. x.projection .. at
//%   end
//%   return text
//% end
//% local adds = 0
//% local operation = {}
//% function operation.scale(op) return "x = forget(x, " .. scalar(op.value) .. ");" end
//% function operation.scale_dk(op) read_row(op.value); return "x = forget(x, " .. op.value .. ");" end
//% function operation.scale_dv(op)
//%   if state.columns == 1 then return nil end
//%   column(op.value)
//%   return "x = forget(x, " .. op.value .. "[c]);"
//% end
//% function operation.add(op)
//%   local writes = op.writes and state.writes
//%   if not writes and #op.sum == 0 then return nil end
//%   if writes then column("v") end
//%   read_row(op.value)
//%   if writes and #op.sum == 0 then return "x += " .. op.value .. " * v[c];" end
//%   local only = not writes and #op.sum == 1 and op.sum[1]
//%   if only and not only.scalar then
//%     return "x " .. (only.minus and "-" or "+") .. "= " .. op.value .. " * " .. only.projection .. at .. ";"
//%   end
//%   local name = "u" .. adds
//%   local text = sum_text(op, writes)
//%   adds = adds + 1
//%   if state.columns == 1 then
//%     declare("const float " .. name .. " = " .. text .. ";")
//%   else
//%     declare("float " .. name .. "[" .. state.columns .. "];")
//%     declare("TILE_UNROLL")
//%     declare("for (int c = 0; c < " .. state.columns .. "; c++) " .. name .. "[c] = " .. text .. ";")
//%   end
//%   return "x += " .. op.value .. " * " .. name .. at .. ";"
//% end
//% function operation.project(op)
//%   read_row(op.value)
//%   pass.sums[#pass.sums + 1] = op.into
//%   pass.sums[op.into] = true
//%   return op.into .. at .. " += " .. op.value .. " * x;"
//% end
//% function operation.read(op)
//%   passes.scale = op.scalar and scalar(op.scalar)
//%   return operation.project(op)
//% end
//% for _, op in ipairs(ops) do
//%   for _, x in ipairs(op.sum or {}) do if pass.sums[x.projection] then pass = begin_pass() end end
//%   pass.body[#pass.body + 1] = operation[op.kind](op)
//% end
//% return passes
//% end
//% function print_pass(indent, p, over, declared)
//% for _, line in ipairs(p.before) do
//% if line == "TILE_UNROLL" or not declared[line] then
$(indent)$(line)
//% declared[line] = true
//% end
//% end
//% for _, x in ipairs(p.sums) do
$(indent)float $(x)$(over.columns > 1 and "[" .. over.columns .. "] = {0}" or " = 0.0f");
//% end
$(indent)TILE_UNROLL
$(indent)for (int n = 0; n < $(over.count); n++) {
//% for _, x in ipairs(p.rows) do
$(indent)  const float $(x) = $(over.row(constant[x]));
//% end
//% if over.columns > 1 then
$(indent)  TILE_UNROLL
$(indent)  for (int c = 0; c < $(over.columns); c++) {
$(indent)    float x = $(over.element);
//% for _, line in ipairs(p.body) do
$(indent)    $(line)
//% end
$(indent)    $(over.element) = x;
$(indent)  }
//% else
$(indent)  float x = $(over.element);
//% for _, line in ipairs(p.body) do
$(indent)  $(line)
//% end
$(indent)  $(over.element) = x;
//% end
$(indent)}
//% for _, x in ipairs(p.sums) do
$(indent)$(over.sum(x));
//% end
//% end
