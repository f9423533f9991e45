return variant { name = "x", q = 1, k = 1, transition = { decay(sigmoid(input { "f", dk })) } }
