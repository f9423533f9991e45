return variant { name = "x", transition = { rotate(input { "theta", dk }) } }
