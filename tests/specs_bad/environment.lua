local _ENV = {}
return variant { name = "x" }
