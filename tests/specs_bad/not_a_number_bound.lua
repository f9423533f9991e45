return variant { name = "x", transition = { decay(exp(input { "g", max = 0 / 0 })) } }
