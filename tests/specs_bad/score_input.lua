return variant { name = "x", score = qk * input "a" }
