return variant { name = "x", k = exp(input "i") * input { "k", dk }, score = qk^2, normaliser = rowsum }
