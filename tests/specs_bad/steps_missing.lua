return variant { name = "x", k = input { "k", step, dk } }
