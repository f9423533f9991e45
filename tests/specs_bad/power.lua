return variant { name = "x", scale = dk^dv }
