return variant { name = "x", scale = exp(100) }
