local a = variant { name = "a" }
return variant { name = "b" }
