local a
return variant { name = "x", scale = exp(a) }
