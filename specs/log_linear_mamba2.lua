-- SPDX-License-Identifier: MIT
-- Log-linear Mamba-2 (Guo et al., "Log-linear attention", 2025, arXiv:2506.04761): Mamba-2's recurrence,
-- a state for each block of a Fenwick tree. The weight of a level is the softplus of a projection
-- times a parameter, one for each level, as in the authors' code.
local dt = softplus(input "dt" + param "dt_bias")
local x  = input { "x", dv }
return variant {
  name  = "log_linear_mamba2",
  about = "log-linear Mamba-2 (arXiv:2506.04761)",
  q = input { "C", dk }, k = input { "B", dk }, v = dt * x,
  transition = { decay(exp(-exp(param "A_log") * dt)) },
  mask = fenwick(softplus(param { "L", levels } * input { "dl", levels })),
  output = o + param "D" * x,
}
