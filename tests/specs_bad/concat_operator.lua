return variant { name = "x", k = input { "a", dk } .. input { "b", dk } }
