return variant { name = "x", scale = 2 * dk * "3" }
