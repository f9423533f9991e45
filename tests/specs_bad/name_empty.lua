return variant { name = "" }
