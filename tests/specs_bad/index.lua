local q = input { "q", dk }
return variant { name = "x", q = q.x }
