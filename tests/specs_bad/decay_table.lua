return variant { name = "x", transition = { decay { log = input "g" } } }
