-- SPDX-License-Identifier: MIT
-- Yang et al., "Gated linear attention transformers with hardware-efficient training", 2023
-- (arXiv:2312.06635): S = diag(a) S + k v', a gate for each channel of the key. g is
-- the gate's logarithm; the paper's is log_sigmoid(x W) / 16. Normalisation and the output gate are
-- the host's.
return variant {
  name  = "gla",
  about = "Gated Linear Attention (arXiv:2312.06635)",
  scale = dk^-0.5,
  transition = { decay(exp(input { "g", dk, max = 0 })) },
}
