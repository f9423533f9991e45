return variant { name = "x",
  about = "never closed
