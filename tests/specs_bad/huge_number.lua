return variant { name = "x", scale = 1e300 }
