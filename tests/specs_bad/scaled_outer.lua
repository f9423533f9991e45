local k = input { "k", dk }
return variant { name = "x", transition = { identity - input "b" * outer(k, k) } }
