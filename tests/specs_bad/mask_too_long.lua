local m = window(1)
for i = 1, 100 do m = m | window(i) end
return variant { name = "x", mask = m }
