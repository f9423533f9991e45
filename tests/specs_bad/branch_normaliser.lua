return variant { name = "x", branches = { { normaliser = rowsum } } }
