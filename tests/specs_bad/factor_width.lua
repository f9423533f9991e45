local k = input { "k", dk }
return variant {
  name = "x",
  q = concat(k, k), k = concat(k, -k),
  transition = { decay(sigmoid(input { "f", dk })) },
}
