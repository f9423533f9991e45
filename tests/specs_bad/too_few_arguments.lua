return variant { name = "x", scale = exp() }
