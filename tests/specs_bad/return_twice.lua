return variant { name = "x" }, 3
