return variant { name = "x", transition = { decay(input { "a", min = "0" }) } }
