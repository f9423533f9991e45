-- SPDX-License-Identifier: MIT
-- Log-linear attention (Guo et al., "Log-linear attention", 2025, arXiv:2506.04761) without a gate: the
-- state of linear attention for each block of a Fenwick tree, each read with a weight of its own.
return variant {
  name  = "log_linear_attention",
  about = "log-linear attention, no gate (arXiv:2506.04761)",
  scale = dk^-0.5,
  mask  = fenwick(input { "lambda", levels }),
}
