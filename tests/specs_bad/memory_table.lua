local t, s = {}, "0123456789abcdef"
for i = 1, 7 do s = s .. s end
for i = 1, 20000 do t[i] = s .. i end
return variant { name = "x" }
