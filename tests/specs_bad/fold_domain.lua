return variant { name = "x", scale = dk * log(0) }
