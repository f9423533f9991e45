return variant { name = "x", scale = 1 / levels }
