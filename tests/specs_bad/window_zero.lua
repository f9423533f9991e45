return variant { name = "x", mask = window(0) }
