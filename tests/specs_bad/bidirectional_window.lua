return variant { name = "x", mask = bidirectional * window(4) }
