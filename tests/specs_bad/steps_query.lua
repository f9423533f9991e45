return variant {
  name = "x", steps = 2,
  q = input { "q", step, dk },
}
