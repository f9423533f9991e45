return variant { name = "x", scale = sum(head) }
