return variant { name = 3 }
