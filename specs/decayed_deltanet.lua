-- SPDX-License-Identifier: MIT
-- RetNet's decay, one constant a head (arXiv:2307.08621, section 2.2), on the delta rule of DeltaNet
-- (arXiv:2406.06484). Nobody has named it; it is what the two make together.
return variant {
  name  = "decayed_deltanet",
  about = "RetNet's decay (arXiv:2307.08621) on the delta rule (arXiv:2406.06484)",
  q = l2norm(input { "q", dk }), k = l2norm(input { "k", dk }),
  scale = dk^-0.5,
  transition = { decay(1 - 2^(-5 - head)), delta(sigmoid(input "beta")) },
}
