-- every kind of expression over the channels of a token
local x = input { "x", dv }
return variant {
  name = "row_program",
  q = l2norm(elu(input { "q", dk }) + 1), k = softmax(input { "k", dk }) * sigmoid(input "b"),
  v = silu(x * input { "y", dv } + param { "w", dv }),
  scale = dk^-0.5,
  transition = { decay(sigmoid(input "f" + 3)) },
  output = rmsnorm(o) * silu(x) * input "s" + param { "bias", dv },
}
