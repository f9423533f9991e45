-- SPDX-License-Identifier: MIT
-- RetNet's decay (arXiv:2307.08621), one constant a head, under the mask of log-linear attention (Guo et
-- al., arXiv:2506.04761). The product has no paper of its own.
return variant {
  name  = "log_linear_retnet",
  about = "RetNet under a Fenwick mask",
  scale = dk^-0.5,
  transition = { decay(1 - 2^(-5 - head)) },
  mask  = fenwick(input { "lambda", levels }),
}
