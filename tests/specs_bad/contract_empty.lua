return variant { name = "x", transition = { decay(input { "a", min = 1, max = 0 }) } }
