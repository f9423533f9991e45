# SPDX-License-Identifier: MIT
"""Lightning attention, after fla.ops.lightning_attn: a constant decay of each head and layer,
exp(-(8 / H) (1 - layer_idx / num_layers) head).

The decays are an array, so one kernel serves all layers.
"""

import torch

from ._call import chunked, recurrent, refuse_reverse, spec, take_keywords

_kept = {}


def _new_slopes(heads, layer_idx, num_layers, device):
    head = torch.arange(heads, dtype=torch.float32, device=device)
    return -(8 / heads * (1 - layer_idx / num_layers)) * head


def _slopes(*key):
    """The decays' logarithms, kept but where they have no memory of their own that lasts: while a
    graph is traced, or captured, or tensors are fake."""
    if torch.compiler.is_compiling():
        return _new_slopes(*key)
    slopes = _kept.get(key)
    if slopes is None:
        slopes = _new_slopes(*key)
        capturing = slopes.is_cuda and torch.cuda.is_current_stream_capturing()
        if type(slopes) is torch.Tensor and not capturing:
            _kept[key] = slopes
    return slopes


def _of(function, q, k, v, layer_idx, num_layers, scale):
    """The spec's text and the arrays."""
    g_gamma = _slopes(q.shape[2], layer_idx, num_layers, q.device)
    return spec(function, scale, ("g_gamma",)), {"q": q, "k": k, "v": v, "g_gamma": g_gamma}


def chunk_lightning_attn(
    q,
    k,
    v,
    layer_idx,
    num_layers,
    scale=None,
    initial_state=None,
    output_final_state=False,
    cu_seqlens=None,
    **kwargs,
):
    """q, k [B,T,H,K], v [B,T,H,V]. Returns o [B,T,H,V] and the final state [N,H,K,V], or None."""
    take_keywords("chunk_lightning_attn", kwargs)
    text, arrays = _of("chunk_lightning_attn", q, k, v, layer_idx, num_layers, scale)
    return chunked(
        "chunk_lightning_attn", text, arrays, initial_state, output_final_state, cu_seqlens
    )


def fused_recurrent_lightning_attn(
    q,
    k,
    v,
    layer_idx,
    num_layers,
    scale=None,
    initial_state=None,
    output_final_state=False,
    reverse=False,
    cu_seqlens=None,
    **kwargs,
):
    """chunk_lightning_attn token by token, for decoding."""
    refuse_reverse("fused_recurrent_lightning_attn", reverse)
    take_keywords("fused_recurrent_lightning_attn", kwargs)
    text, arrays = _of("fused_recurrent_lightning_attn", q, k, v, layer_idx, num_layers, scale)
    return recurrent(
        "fused_recurrent_lightning_attn",
        text,
        arrays,
        initial_state,
        output_final_state,
        cu_seqlens,
    )
