# SPDX-License-Identifier: MIT
"""Log-linear attention (the Fenwick mask on a scalar gate), after fla.ops.log_linear_attn."""

from typing import NamedTuple

import torch

from ..errors import ArgumentError
from ._call import chunked, fp32, spec


class LogLinearAttentionState(NamedTuple):
    """What one call leaves to the next. The contents are not FLA's.

    ht: float32 [N, L - 1, H, K, V], slot i the sum over a block of 2^i tokens, where bit i of the
    number of tokens so far is set. offsets: int64 [N], that number.
    """

    ht: torch.Tensor
    offsets: torch.Tensor


def _with_levels(level_scales, levels):
    """level_scales with further levels, which no token of the call reads."""
    missing = levels - level_scales.shape[-1]
    return torch.nn.functional.pad(level_scales, (0, missing)) if missing > 0 else level_scales


def _new_offsets(q, offsets, cu_seqlens):
    """The tokens of each sequence after this call. Nothing waits for the device."""
    if cu_seqlens is not None:
        tokens = (cu_seqlens[1:] - cu_seqlens[:-1]).long()
    else:
        tokens = torch.full((q.shape[0],), q.shape[1], dtype=torch.int64, device=q.device)
    return tokens if offsets is None else offsets + tokens


def chunk_log_linear_attn(
    q, k, v, g, level_scales, initial_state=None, output_final_state=False, cu_seqlens=None
):
    """o_t = sum over s <= t of level_scales[t, level] exp(g_{s+1} + ... + g_t) (q_t . k_s) v_s.

    q, k [B,T,G,K], v [B,T,H,V], g [B,T,H], level_scales [B,T,H,L]. The level of a pair is the bit
    length of t xor s; there is no scale. L: at least 1 + the bit length of the last position;
    with states the same in all calls. Returns o [B,T,H,V] and a LogLinearAttentionState, or None.
    """
    function = "chunk_log_linear_attn"
    if initial_state is not None and not isinstance(initial_state, LogLinearAttentionState):
        raise ArgumentError(
            f"{function}: initial_state is what an earlier call returned, and no "
            f"{type(initial_state).__name__}"
        )
    h0, offsets = initial_state or (None, None)
    if output_final_state and initial_state is None:
        level_scales = _with_levels(level_scales, q.shape[1].bit_length() + 1)
    arrays = {"q": q, "k": k, "v": v, "g": fp32(g), "level_scales": fp32(level_scales)}
    if offsets is not None:
        arrays["position"] = offsets
    text = spec(function, 1, ("g",), field="fenwick")
    o, ht = chunked(function, text, arrays, h0, output_final_state, cu_seqlens)
    return o, None if ht is None else LogLinearAttentionState(
        ht, _new_offsets(q, offsets, cu_seqlens)
    )
