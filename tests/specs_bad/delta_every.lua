return variant { name = "x", transition = { delta(sigmoid(input "b"), { every = 16 }) } }
