-- SPDX-License-Identifier: MIT
-- The delta rule: Schlag et al., "Linear transformers are secretly fast weight programmers", 2021
-- (arXiv:2102.11174); in this form, keys of norm 1 and chunks, Yang et al., "Parallelizing linear
-- transformers with the delta rule over sequence length", 2024 (arXiv:2406.06484). The activation
-- that its layer applies to q and k before the norm is the host's.
return variant {
  name  = "deltanet",
  about = "DeltaNet (arXiv:2406.06484)",
  q = l2norm(input { "q", dk }), k = l2norm(input { "k", dk }),
  scale = dk^-0.5,
  transition = { delta(sigmoid(input "beta")) },
}
