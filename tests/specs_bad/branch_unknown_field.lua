return variant {
  name = "x",
  branches = {
    { score = exp(qk), mask = window(4) },
    { scores = qk, mask = ~window(4) },
  },
  normaliser = rowsum,
}
