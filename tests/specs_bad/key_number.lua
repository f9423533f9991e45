return variant { name = "x", decay(0.9) }
