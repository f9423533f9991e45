return variant { name = "x", mask = toeplitz(input { "h", taps }) }
