return variant { name = "x", k = input("k", dk) }
