return variant { name = "x", k = input(3) }
