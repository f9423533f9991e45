return variant { name = "x", transition = { decay(sigmoid(input { "f", levels })) } }
