-- äöü
local g = "äöü" return variant { name = "x", transition = { decay(input "g") } }
