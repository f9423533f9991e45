-- Decays of every kind at once, and all that may stand beside them
local dt, x = softplus(input "dt" + param "dt_bias"), input { "x", dv }
return variant {
  name  = "channel_decays",
  q = input "s" * input { "q", dk }, k = sigmoid(input "b") * l2norm(input { "k", dk }), v = dt * x,
  scale = dk^-0.5,
  transition = {
    decay(exp(-exp(param "A_log") * dt)),
    decay(exp(-softplus(input { "g", dk } + param { "g_bias", dk }))),
    decay(1 - 2^(-5 - head)),
  },
  mask = decay(exp(input { "m", max = 0 })),
  output = rmsnorm(o) * silu(input { "z", dv }) + param "D" * x,
}
