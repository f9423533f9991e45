return variant { name = "x", k = exp(input "i") * input { "k", dk }, normaliser = rowsum^2 }
