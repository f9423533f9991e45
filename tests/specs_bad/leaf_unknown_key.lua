return variant { name = "x", transition = { decay(exp(input { "g", maximum = 0 })) } }
