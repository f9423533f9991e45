local nan = 0 / 0
return variant {
  name = "x",
  transition = { decay(nan) },
}
