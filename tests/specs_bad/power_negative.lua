return variant { name = "x", scale = (-2)^head }
