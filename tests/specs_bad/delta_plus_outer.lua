local k = input { "k", dk }
return variant { name = "x", transition = { delta(sigmoid(input "b")) - outer(k, k) } }
