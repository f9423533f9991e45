-- SPDX-License-Identifier: MIT
-- template.lua - the template engine: a template and its slots in, kernel source out.
--
-- A template is the kernel's C text. In it
--   //% lua          is a line of Lua: structure (if, for) around the lines that follow
--   $(expression)    is replaced by the expression's value
-- Each template line becomes one line of Lua, so that an error in a template has its line:
--
--   //% for _, x in ipairs(arrays) do           for _, x in ipairs(arrays) do
--     $(x.type) *$(x.field);             ->       _line(2, "  ", (x.type), " *", (x.field), ";")
--   //% end                                     end
--
-- A template may call  at(file, line)  to say where the next line comes from (a spec),
-- include(name)  to run another template in its place, whose global functions it may then call, and
-- vocabulary()  to place the tile vocabulary that the kernel uses; each() and join() print lists.
-- render(name, text, slots, vocabulary, embedded) returns the source, with #line directives;
-- embedded(name) is the text of a template, or nil.

local VOCABULARY = "\1vocabulary\1"

-- Most lines hold no $, and plain searches are the fast ones.
local function printed(line, n)
  if not line:find("$", 1, true) then return ("_line(%d, %q)"):format(n, line) end
  local parts, from = { n }, 1
  for first, last in line:gmatch("()%$%b()()") do
    parts[#parts + 1] = ("%q"):format(line:sub(from, first - 1))
    parts[#parts + 1] = line:sub(first + 1, last - 1)
    from = last
  end
  parts[#parts + 1] = ("%q"):format(line:sub(from))
  return "_line(" .. table.concat(parts, ", ") .. ")"
end

local function translate(text)
  local lua, n, from = {}, 0, 1
  while from <= #text do
    local stop = text:find("\n", from, true) or #text + 1
    local line = text:sub(from, stop - 1)
    from, n = stop + 1, n + 1
    lua[n] = line:match("^%s*//%%(.*)$") or printed(line, n)
  end
  return "local _line = _lines_of(...) " .. table.concat(lua, "\n")
end

-- Names that a paragraph of the vocabulary defines: functions, macros, types.
local definitions = {
  { word = "#define", pattern = "#define%s+([%w_]+)" },
  { word = "TILE_FN", pattern = "TILE_FN[^\n(]-([%w_]+)%(" },
  { word = "typedef", pattern = "typedef[^;{]-([%w_]+);" },
  { word = "}", pattern = "}%s*([%w_]+);" },
}

local function defined(paragraph)
  local names = {}
  for _, d in ipairs(definitions) do
    if paragraph:find(d.word, 1, true) then
      for name in paragraph:gmatch(d.pattern) do names[name] = true end
    end
  end
  return names
end

local function words(text, into)
  for word in text:gmatch("[%a_][%w_]*") do into[word] = true end
end

-- The paragraphs of the vocabulary that `body` needs, and those that they need, in their order.
local function used(vocabulary, body)
  local paragraphs, wanted = {}, {}
  for p in (vocabulary .. "\n\n"):gmatch("(.-)\n\n+") do
    paragraphs[#paragraphs + 1] = { text = p, names = defined(p) }
  end
  words(body, wanted)
  local again = true
  while again do
    again = false
    for _, p in ipairs(paragraphs) do
      for name in pairs(p.names) do
        if not p.used and wanted[name] then
          p.used, again = true, true
          words(p.text, wanted)
        end
      end
    end
  end
  local out = {}
  for _, p in ipairs(paragraphs) do
    if p.used then out[#out + 1] = p.text end
  end
  return table.concat(out, "\n\n")
end

local function c_string(s) return (s:gsub('[%c"\\?]', function(c) return ("\\%03o"):format(c:byte()) end)) end

function render(name, text, slots, vocabulary, embedded)
  local out = {}
  local file, next_line = nil, nil   -- where the compiler would think the next line comes from
  local at_file, at_line = nil, nil  -- set by at() for one line
  local env = setmetatable({ ipairs = ipairs, pairs = pairs, unpack = table.unpack }, {
    __index = function(_, key)
      local value = slots[key]
      if value == nil then error(("%s: the plan has no slot '%s'"):format(name, key), 2) end
      return value
    end,
  })
  -- each(list, "const float *%") is the list's fields, one at each %, with commas between
  function env.each(list, pattern)
    local texts = {}
    for i, x in ipairs(list) do texts[i] = pattern:gsub("%%", x.field) end
    return table.concat(texts, ", ")
  end
  -- join(a, b, ...) is what of them is neither false nor empty, with commas between
  function env.join(...)
    local texts = {}
    for i = 1, select("#", ...) do
      local text = select(i, ...)
      if text and text ~= "" then texts[#texts + 1] = text end
    end
    return table.concat(texts, ", ")
  end
  function env.at(f, line) at_file, at_line = f, line end
  function env.vocabulary() out[#out + 1] = VOCABULARY; next_line = nil end
  -- the function that prints a line of a template
  function env._lines_of(template)
    return function(line, ...)
      local f, l = at_file or template, at_line or line
      at_file, at_line = nil, nil
      if file ~= f or next_line ~= l then
        out[#out + 1] = ('#line %d "%s"\n'):format(l, c_string(f))
      end
      file, next_line = f, l + 1
      for i = 1, select("#", ...) do
        local piece = select(i, ...)
        if piece == nil then error(("%s:%d: a splice is nil"):format(template, line), 0) end
        out[#out + 1] = tostring(piece)
      end
      out[#out + 1] = "\n"
    end
  end
  local function run(template, lines)
    local chunk, message = load(translate(lines), "=" .. template, "t", env)
    if not chunk then error(message, 0) end
    chunk(template)
  end
  function env.include(template)
    local lines = embedded(template)
    if not lines then error(("%s: no template '%s'"):format(name, template), 0) end
    run(template, lines)
  end
  run(name, text)
  local body = table.concat(out)
  local words_of_body = body:gsub(VOCABULARY, "")
  local text_of_vocabulary = used(vocabulary, words_of_body)
  return (body:gsub(VOCABULARY, function()
    return "#if defined(__CUDACC__) || defined(__CUDACC_RTC__)\n" .. text_of_vocabulary ..
      "\n#else\n#include \"tile_host.h\" /* the same names on the CPU device */\n#endif\n"
  end))
end
