-- SPDX-License-Identifier: MIT
-- Linear attention without a normaliser: Katharopoulos et al., "Transformers are RNNs: Fast
-- autoregressive transformers with linear attention", 2020 (arXiv:2006.16236), with the feature map
-- left to the host.
return variant {
  name  = "linear_attention",
  about = "Linear attention, no normaliser (arXiv:2006.16236)",
  scale = dk^-0.5,
}
