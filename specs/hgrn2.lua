-- SPDX-License-Identifier: MIT
-- Qin et al., "HGRN2: gated linear RNNs with state expansion", 2024 (arXiv:2404.07904):
-- the forget gate of each channel is the decay, and one minus it the key. The lower bound that a
-- layer puts under the gate is folded into f by the host.
local f = sigmoid(input { "f", dk })
return variant {
  name  = "hgrn2",
  about = "HGRN2 (arXiv:2404.07904): the key is one minus the forget gate",
  q = silu(input { "q", dk }), k = 1 - f,
  scale = dk^-0.5,
  transition = { decay(f) },
}
