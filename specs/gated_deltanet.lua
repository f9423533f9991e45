-- SPDX-License-Identifier: MIT
-- Yang, Kautz and Hatamizadeh, "Gated delta networks: improving Mamba2 with delta rule", 2024
-- (arXiv:2412.06464), equation 10: forget, then correct what is stored for the key. The gate is
-- Mamba-2's, with a as its dt; the output gate and the norm before it are the host's.
return variant {
  name  = "gated_deltanet",
  about = "Gated DeltaNet (arXiv:2412.06464)",
  q = l2norm(input { "q", dk }), k = l2norm(input { "k", dk }),
  scale = dk^-0.5,
  transition = {
    decay(exp(-exp(param "A_log") * softplus(input "a" + param "dt_bias"))),
    delta(sigmoid(input "b")),
  },
}
