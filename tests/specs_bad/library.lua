for i, x in ipairs({ 1, 2 }) do end
return variant { name = "x" }
