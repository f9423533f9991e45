-- A scalar decay in the mask of a linear score is one in the transition; max, min and concat take
-- any number of parts.
local f = input { 'f', min = 0, max = 1 }
return variant {
  name = "mask_decay",
  scale = (dk * heads)^-0.5 * max(1, 2, 3),
  mask = decay(f) * decay(min(f, 0.5, 1 - f)) * ones,
  output = (o / max(sqrt(sum(o * o)), 1e-12)) * -2 - -param "c",
}
