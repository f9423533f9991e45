local q = input { "q", dk }
return variant {
  name = "x",
  q = concat(q, -q),
}
