return variant { name = "x", transition = { decay(0.9), decay(input "f"), decay(sigmoid(input "g")) } }
