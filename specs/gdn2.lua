-- SPDX-License-Identifier: MIT
-- Gated DeltaNet-2: KDA's decay over dk, and in place of beta two gates, b over the channels of what is
-- erased and w over those of what is written (TransformerEngine, pull request 3521). How b, w and g
-- are made of a layer's input is the host's.
local k = l2norm(input { "k", dk })
return variant {
  name  = "gdn2",
  about = "Gated DeltaNet-2: erase gate b over dk, write gate w over dv",
  q = l2norm(input { "q", dk }), k = k,
  v = sigmoid(input { "w", dv }) * input { "v", dv },
  scale = dk^-0.5,
  transition = {
    decay(exp(input { "g", dk, max = 0 })),
    identity - outer(k, sigmoid(input { "b", dk }) * k),
  },
}
