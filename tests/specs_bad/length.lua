return variant { name = "x", scale = 1 / #input { "q", dk } }
