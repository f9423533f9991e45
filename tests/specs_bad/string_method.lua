local s = ("x"):rep(1e9)
return variant { name = "x" }
