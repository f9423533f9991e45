return variant { name = "x", steps = 1.5 }
