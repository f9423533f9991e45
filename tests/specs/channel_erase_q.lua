local q, k = l2norm(input { "q", dk }), l2norm(input { "k", dk })
return variant {
  name = "channel_erase_q",
  about = "erases for q, after decays of a channel of no input but params, and of a token",
  q = sigmoid(input "r") * q, k = input "w" * k,
  transition = {
    decay(sigmoid(param { "f", dk })), decay(sigmoid(input "g")),
    identity - outer(k, sigmoid(input "b") * q), decay(0.9),
  },
  output = o * sigmoid(input { "z", dv }),
}
