return variant { name = "x", transition = { decay(sigmoid(gate)) } }
