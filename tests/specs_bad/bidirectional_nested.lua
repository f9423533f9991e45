return variant { name = "x", mask = bidirectional * (window(4) | first(2)) }
