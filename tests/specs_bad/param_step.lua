return variant { name = "x", k = param { "k", step, dk } }
