return variant { name = "x", k = input { "h0", dk } }
