return variant {
  name = "x",
  branches = {
    { mask = window(4) },
    { mask = ~window(4), k = input { "x", dv } },
  },
}
