-- SPDX-License-Identifier: MIT
-- Gated linear attention (arXiv:2312.06635), a gate for each channel of the key, under the mask of
-- log-linear attention (Guo et al., arXiv:2506.04761). The product has no paper of its own.
return variant {
  name  = "log_linear_gla",
  about = "GLA under a Fenwick mask",
  scale = dk^-0.5,
  transition = { decay(exp(input { "g", dk, max = 0 })) },
  mask = fenwick(input { "lambda", levels }),
}
