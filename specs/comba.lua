-- SPDX-License-Identifier: MIT
-- Hu et al., "Improving bilinear RNNs with closed-loop control", 2025 (arXiv:2506.02475): a scalar
-- plus low rank transition, so the error reads the state before it decays; k acts on q, too. The
-- chunked kernels of its authors do this; a recurrent loop that decays first is another model.
local k, beta = l2norm(input { "k", dk }), sigmoid(input "b")
local p = sigmoid(param "d") * k
return variant {
  name  = "comba",
  about = "Comba (arXiv:2506.02475): the error reads the state before it decays",
  q = l2norm(input { "q", dk }) - param "D" * p, k = k, v = beta * input { "v", dv },
  scale = dk^-0.5,
  transition = { decay(exp(input { "g", max = 0 })) - outer(k, beta * p) },
}
