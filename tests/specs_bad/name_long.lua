return variant { name = "x",
  transition = { decay(sigmoid(input "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz01234567")) } }
