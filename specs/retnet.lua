-- SPDX-License-Identifier: MIT
-- Sun et al., "Retentive network: a successor to Transformer for large language models", 2023
-- (arXiv:2307.08621), section 2.2: one constant a head, gamma = 1 - 2^(-5 - head).
return variant {
  name  = "retnet",
  about = "RetNet (arXiv:2307.08621)",
  scale = dk^-0.5,
  transition = { decay(1 - 2^(-5 - head)) },
}
