-- SPDX-License-Identifier: MIT
-- Peng et al., "Random feature attention", 2021 (arXiv:2103.02143), section 3.2: a gate that forgets, one
-- minus it that writes, and rows divided by the sum of their weights. The random projections are
-- outside; relu makes features of them here.
local g = sigmoid(input "g")
return variant {
  name  = "gated_rfa",
  about = "Gated random feature attention (arXiv:2103.02143), with relu",
  q = relu(input { "q", dk }),
  k = (1 - g) * relu(input { "k", dk }),
  transition = { decay(g) },
  normaliser = rowsum + 1e-6,
}
