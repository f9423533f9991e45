-- keys of two inputs side by side: the state has twice dk rows, and is handed on
return variant {
  name = "wide_state",
  q = concat(input { "q", dk }, input { "q2", dk }), k = concat(input { "k", dk }, input { "k2", dk }),
  scale = dk^-0.5,
  transition = { decay(exp(input { "g", max = 0 })) },
}
