-- A decay over dk after the delta rule turns the erase vector: low rank, not the delta rule of KDA.
local k = l2norm(input { "k", dk })
return variant {
  name = "commuted",
  k = k,
  transition = { delta(sigmoid(input "beta")), decay(sigmoid(input { "f", dk })) },
  mask = ones,
}
