return variant { name = "é�[31m", about = "‮" }
