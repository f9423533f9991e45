-- SPDX-License-Identifier: MIT
-- The delta rule (arXiv:2406.06484) under the mask of log-linear attention (Guo et al., arXiv:2506.04761):
-- their Gated DeltaNet without the gate. The product has no paper of its own.
return variant {
  name  = "log_linear_deltanet",
  about = "DeltaNet under a Fenwick mask",
  q = l2norm(input { "q", dk }), k = l2norm(input { "k", dk }),
  scale = dk^-0.5,
  transition = { delta(sigmoid(input "beta")) },
  mask = fenwick(input { "lambda", levels }),
}
