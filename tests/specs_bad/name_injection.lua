return variant { name = "x", transition = { decay(sigmoid(input "x; system(1)")) } }
