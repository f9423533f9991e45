return variant { name = "x", k = input { "__global__", dk } }
