return variant { name = "x", branches = {} }
