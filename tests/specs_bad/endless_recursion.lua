local function f(x) return 1 + f(x) end
return variant { name = "x", scale = f(1) }
