return variant { name = "x", mask = window(4) | decay(0.9) }
