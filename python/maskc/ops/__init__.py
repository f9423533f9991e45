# SPDX-License-Identifier: MIT
"""Functions with the names, arguments, defaults and results of flash-linear-attention's (0.5.2).

    from fla.ops import chunk_gated_delta_rule        # before
    from maskc.ops import chunk_gated_delta_rule      # after

Forward only. An argument that is not served is refused by its name; docs/python.md lists them.
Arrays are [B, T, H, channels] in bfloat16 or float16, on a GPU or the CPU; gates, rates and states
may have any type and are converted to float32. chunk_* is the forward pass, fused_recurrent_* the
decode step.
"""

from .delta_rule import chunk_delta_rule, fused_recurrent_delta_rule
from .gated_delta_rule import (
    chunk_gated_delta_rule,
    chunk_gdn,
    fused_recurrent_gated_delta_rule,
    fused_recurrent_gdn,
)
from .gla import chunk_gla, fused_recurrent_gla
from .kda import chunk_kda, fused_recurrent_kda
from .lightning_attn import chunk_lightning_attn, fused_recurrent_lightning_attn
from .linear_attn import chunk_linear_attn, fused_recurrent_linear_attn
from .log_linear_attn import chunk_log_linear_attn
from .retention import chunk_retention, fused_recurrent_retention
from .simple_gla import chunk_simple_gla, fused_recurrent_simple_gla

__all__ = [
    "chunk_delta_rule",
    "chunk_gated_delta_rule",
    "chunk_gdn",
    "chunk_gla",
    "chunk_kda",
    "chunk_lightning_attn",
    "chunk_linear_attn",
    "chunk_log_linear_attn",
    "chunk_retention",
    "chunk_simple_gla",
    "fused_recurrent_delta_rule",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_gdn",
    "fused_recurrent_gla",
    "fused_recurrent_kda",
    "fused_recurrent_lightning_attn",
    "fused_recurrent_linear_attn",
    "fused_recurrent_retention",
    "fused_recurrent_simple_gla",
]
