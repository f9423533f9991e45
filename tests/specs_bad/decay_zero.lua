return variant { name = "x", transition = { decay(0) } }
