return variant { name = "x", steps = 2, k = input { "k", step, dk, step } }
