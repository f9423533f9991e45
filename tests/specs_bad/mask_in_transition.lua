return variant { name = "x", transition = { window(4) } }
