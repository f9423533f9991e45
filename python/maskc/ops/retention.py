# SPDX-License-Identifier: MIT
"""RetNet's retention, a constant decay 1 - 2^(-5 - head), after fla.ops.retention."""

from ._call import chunked, recurrent, refuse_reverse, spec, take_keywords, v_first


def chunk_retention(
    q, k, v, scale=None, initial_state=None, output_final_state=False, cu_seqlens=None, **kwargs
):
    """q, k [B,T,H,K], v [B,T,H,V]. Returns o [B,T,H,V] and the final state [N,H,K,V], or None."""
    take_keywords("chunk_retention", kwargs)
    text = spec("chunk_retention", scale, ("retention",))
    return chunked(
        "chunk_retention",
        text,
        {"q": q, "k": k, "v": v},
        initial_state,
        output_final_state,
        cu_seqlens,
    )


def fused_recurrent_retention(
    q,
    k,
    v,
    scale=None,
    initial_state=None,
    output_final_state=False,
    reverse=False,
    state_v_first=False,
    cu_seqlens=None,
    **kwargs,
):
    """chunk_retention token by token, for decoding."""
    refuse_reverse("fused_recurrent_retention", reverse)
    state_v_first = v_first("fused_recurrent_retention", state_v_first, kwargs)
    take_keywords("fused_recurrent_retention", kwargs)
    text = spec("fused_recurrent_retention", scale, ("retention",))
    return recurrent(
        "fused_recurrent_retention",
        text,
        {"q": q, "k": k, "v": v},
        initial_state,
        output_final_state,
        cu_seqlens,
        state_v_first,
    )
