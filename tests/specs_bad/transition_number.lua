return variant { name = "x", transition = 0.9 }
