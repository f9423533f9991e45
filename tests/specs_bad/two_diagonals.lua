return variant { name = "x", transition = { decay(0.9) + identity } }
