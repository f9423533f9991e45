return variant { name = "x", transition = { decay(min(1, sqrt(input "a"))) } }
