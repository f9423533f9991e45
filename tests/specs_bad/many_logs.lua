local x = sigmoid(input "f")
for i = 1, 8 do x = x * x end
for i = 1, 5000 do decay(x) end
return variant { name = "x" }
