return variant { name = "x", mask = sigmoid(input "f") }
