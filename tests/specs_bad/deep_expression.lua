local x = input "a"
for i = 1, 3000 do x = -exp(x) end
return variant { name = "x", transition = { delta(x) } }
