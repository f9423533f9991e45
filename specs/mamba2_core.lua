-- SPDX-License-Identifier: MIT
-- The core of Mamba-2 (Dao and Gu, "Transformers are SSMs", 2024, arXiv:2405.21060, section 7): the
-- state space dual form without the skip, the gate and the softplus of dt, which are the host's.
-- C, B and x are q, k and v; B and C may have fewer heads than x.
local dt = input { "dt", min = 0 }
return variant {
  name  = "mamba2_core",
  about = "Mamba-2 SSD core: x dt, A dt (arXiv:2405.21060)",
  q = input { "C", dk }, k = input { "B", dk }, v = dt * input { "x", dv },
  transition = { decay(exp(-exp(param "A_log") * dt)) },
}
