return variant { name = "x", mask = window(option { "w", 2.5 }) }
