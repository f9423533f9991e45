-- SPDX-License-Identifier: MIT
-- Peng et al., "Random feature attention", 2021 (arXiv:2103.02143), section 3.2: a gate g that forgets,
-- 1 - g that writes, rows divided by the sum of their weights. The random projections are outside;
-- relu of them are the features here.
return variant {
  name  = "gated_rfa",
  about = "Gated random feature attention (arXiv:2103.02143), with relu",
  q = relu(input { "q", dk }),
  k = (1 - sigmoid(input "g")) * relu(input { "k", dk }),
  transition = { decay(sigmoid(input "g")) },
  normaliser = rowsum + 1e-6,
}
