-- SPDX-License-Identifier: MIT
-- RetNet's decay, one constant a head (arXiv:2307.08621), on the delta rule (arXiv:2406.06484), under the
-- mask of log-linear attention (Guo et al., arXiv:2506.04761). The product has no paper of its own.
return variant {
  name  = "log_linear_decayed_deltanet",
  about = "RetNet's decay on the delta rule under a Fenwick mask",
  q = l2norm(input { "q", dk }), k = l2norm(input { "k", dk }),
  scale = dk^-0.5,
  transition = { decay(1 - 2^(-5 - head)), delta(sigmoid(input "beta")) },
  mask = fenwick(input { "lambda", levels }),
}
