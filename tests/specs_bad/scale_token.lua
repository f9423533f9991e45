return variant { name = "x", scale = input "s" }
