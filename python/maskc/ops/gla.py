# SPDX-License-Identifier: MIT
"""Gated linear attention, a gate for each channel of the key, after fla.ops.gla."""

from ..errors import ArgumentError
from ._call import (
    chunked,
    fp32,
    recurrent,
    refuse,
    refuse_reverse,
    require_fp32,
    spec,
    take_keywords,
    v_first,
)


def chunk_gla(
    q,
    k,
    v,
    g,
    scale=None,
    initial_state=None,
    output_final_state=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
):
    """S <- diag(exp(g)) S + k v', o = scale S' q.

    q, k, g [B,T,H,K], v [B,T,H,V]; g is the logarithm of the gate, at most 0. Returns o [B,T,H,V]
    and the final state, float32 [N,H,K,V], or None.
    """
    require_fp32("chunk_gla", initial_state)
    if not q.shape == k.shape == g.shape:
        raise ArgumentError(
            f"chunk_gla: q, k and g are of one shape; here {tuple(q.shape)}, "
            f"{tuple(k.shape)} and {tuple(g.shape)}"
        )
    text = spec("chunk_gla", scale, ("g over dk",))
    arrays = {"q": q, "k": k, "v": v, "g": fp32(g)}
    return chunked(
        "chunk_gla", text, arrays, initial_state, output_final_state, cu_seqlens, state_v_first
    )


def fused_recurrent_gla(
    q,
    k,
    v,
    gk=None,
    gv=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    reverse=False,
    state_v_first=False,
    cu_seqlens=None,
    **kwargs,
):
    """chunk_gla token by token, for decoding; gates over K (gk), over V (gv), or both."""
    function = "fused_recurrent_gla"
    refuse_reverse(function, reverse)
    state_v_first = v_first(function, state_v_first, kwargs)
    take_keywords(function, kwargs)
    if gv is not None and cu_seqlens is not None:
        refuse(function, "gv with cu_seqlens", "call it once for each sequence")
    gates = {name: fp32(g) for name, g in (("gk", gk), ("gv", gv)) if g is not None}
    return recurrent(
        function,
        spec(function, scale, tuple(gates)),
        {"q": q, "k": k, "v": v, **gates},
        initial_state,
        output_final_state,
        cu_seqlens,
        state_v_first,
    )
