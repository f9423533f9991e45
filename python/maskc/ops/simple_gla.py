# SPDX-License-Identifier: MIT
"""Linear attention with a scalar gate a token (g) or a head (g_gamma), after fla.ops.simple_gla."""

from ..errors import ArgumentError
from ._call import chunked, fp32, recurrent, refuse_reverse, spec, take_keywords, v_first


def _of(function, q, k, v, g, g_gamma, scale):
    """The spec's text and the arrays."""
    if g is not None and g_gamma is not None:
        raise ArgumentError(f"{function}: g and g_gamma, both; it takes one of them")
    arrays = {"q": q, "k": k, "v": v}
    decays = ()
    if g is not None:
        arrays["g"], decays = fp32(g), ("g",)
    if g_gamma is not None:
        arrays["g_gamma"], decays = fp32(g_gamma), ("g_gamma",)
    return spec(function, scale, decays), arrays


def chunk_simple_gla(
    q,
    k,
    v,
    g=None,
    g_gamma=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    **kwargs,
):
    """S <- exp(g) S + k v', o = scale S' q.

    q, k [B,T,H,K], v [B,T,H,V]; g [B,T,H] or g_gamma [H], logarithms, at most 0. scale: K^-0.5.
    Returns o [B,T,H,V] and the final state, float32 [N,H,K,V], or None.
    """
    take_keywords("chunk_simple_gla", kwargs)
    text, arrays = _of("chunk_simple_gla", q, k, v, g, g_gamma, scale)
    return chunked(
        "chunk_simple_gla",
        text,
        arrays,
        initial_state,
        output_final_state,
        cu_seqlens,
        state_v_first,
    )


def fused_recurrent_simple_gla(
    q,
    k,
    v,
    g=None,
    g_gamma=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    reverse=False,
    state_v_first=False,
    cu_seqlens=None,
    **kwargs,
):
    """chunk_simple_gla token by token, for decoding."""
    refuse_reverse("fused_recurrent_simple_gla", reverse)
    state_v_first = v_first("fused_recurrent_simple_gla", state_v_first, kwargs)
    take_keywords("fused_recurrent_simple_gla", kwargs)
    text, arrays = _of("fused_recurrent_simple_gla", q, k, v, g, g_gamma, scale)
    return recurrent(
        "fused_recurrent_simple_gla",
        text,
        arrays,
        initial_state,
        output_final_state,
        cu_seqlens,
        state_v_first,
    )
