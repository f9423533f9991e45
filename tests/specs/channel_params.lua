-- Decays over dk that read no input over dk, as in the diagonal state space models
local dt = softplus(input "dt" + param "dt_bias")
return variant {
  name = "channel_params",
  q = input { "C", dk }, k = input { "B", dk }, v = dt * input { "x", dv },
  transition = { decay(exp(-exp(param { "A_log", dk }) * dt)) },
}
