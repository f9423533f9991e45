return variant { name = "x", transition = { decay(sigmoid(input "f") * (1 / 0)) } }
