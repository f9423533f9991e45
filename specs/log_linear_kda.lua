-- SPDX-License-Identifier: MIT
-- Kimi Delta Attention (arXiv:2510.26692), the delta rule after a gate for each channel of the key, under
-- the mask of log-linear attention (Guo et al., arXiv:2506.04761). The product has no paper of its own.
return variant {
  name  = "log_linear_kda",
  about = "KDA under a Fenwick mask",
  q = l2norm(input { "q", dk }), k = l2norm(input { "k", dk }),
  scale = dk^-0.5,
  transition = {
    decay(exp(-exp(param "A_log") * softplus(input { "g", dk } + param { "dt_bias", dk }))),
    delta(sigmoid(input "beta")),
  },
  mask = fenwick(input { "lambda", levels }),
}
