-- SPDX-License-Identifier: MIT
-- Scalar gated linear attention: the gate of Mamba-2 (Dao and Gu, arXiv:2405.21060) and of gated
-- RetNet (Sun et al., arXiv:2405.05254) in the form of GLA (Yang et al., arXiv:2312.06635). g is the
-- logarithm of the gate, one number a token and head.
return variant {
  name  = "simple_gla",
  about = "Simple GLA: one log gate a token (arXiv:2405.21060)",
  scale = dk^-0.5,
  transition = { decay(exp(input { "g", max = 0 })) },
}
