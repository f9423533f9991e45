local t = {}
for i = 1, 100 do t[i] = decay(0.9) end
return variant { name = "x", transition = t }
