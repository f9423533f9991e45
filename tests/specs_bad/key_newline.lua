return variant { name = "x", ["a\nb"] = 3 }
