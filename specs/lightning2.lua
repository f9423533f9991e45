-- SPDX-License-Identifier: MIT
-- Qin et al., "Lightning Attention-2: a free lunch for handling unlimited sequence lengths in large
-- language models", 2024 (arXiv:2401.04658). Its slopes are ALiBi's: exp(-2^(-8 (head + 1) / heads)).
return variant {
  name  = "lightning2",
  about = "Lightning Attention-2 (arXiv:2401.04658)",
  transition = { decay(exp(-2^(-8 * (head + 1) / heads))) },
}
