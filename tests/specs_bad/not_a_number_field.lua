return variant {
  name = "x",
  scale = 0 / 0,
}
