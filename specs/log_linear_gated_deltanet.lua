-- SPDX-License-Identifier: MIT
-- Log-linear Gated DeltaNet (Guo et al., "Log-linear attention", 2025, arXiv:2506.04761): the state of
-- Gated DeltaNet for each block of a Fenwick tree, each read with a weight of its own. A token erases
-- from every block what is stored for its key, and writes to its own.
return variant {
  name  = "log_linear_gated_deltanet",
  about = "log-linear Gated DeltaNet (arXiv:2506.04761)",
  q = l2norm(input { "q", dk }), k = l2norm(input { "k", dk }),
  scale = dk^-0.5,
  transition = { decay(exp(input { "g", max = 0 })), delta(sigmoid(input "b")) },
  mask = fenwick(input { "lambda", levels }),
}
