-- SPDX-License-Identifier: MIT
-- Katharopoulos et al., "Transformers are RNNs: fast autoregressive transformers with linear
-- attention", 2020 (arXiv:2006.16236), sections 3.2 and 3.3: phi(x) = elu(x) + 1 of q and k, and rows
-- divided by the sum of their weights; 1e-6 as in the authors' code.
return variant {
  name  = "linear_attention_elu",
  about = "Linear attention with elu(x) + 1 (arXiv:2006.16236)",
  q = elu(input { "q", dk }) + 1,
  k = elu(input { "k", dk }) + 1,
  normaliser = rowsum + 1e-6,
}
