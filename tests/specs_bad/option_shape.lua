return variant { name = "x", mask = window(option "w") }
