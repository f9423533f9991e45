return variant { name = "x", normaliser = exp(input "z") }
