return variant { name = "x", read = "during" }
