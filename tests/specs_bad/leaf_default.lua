return variant { name = "x", transition = { decay(sigmoid(input "k")) } }
