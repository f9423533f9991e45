return variant { name = "x", scale = head % 2 }
