local a = input "a"
local function wide(x, ...) for i = 1, 200 do max(x + i, ...) end end
for i = 1, 40 do
  wide(a * i, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a,
       a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a)
end
return variant { name = "x" }
