# SPDX-License-Identifier: MIT
"""The delta rule, after fla.ops.delta_rule."""

from ..errors import ArgumentError
from ._call import chunked, fp32, recurrent, refuse, spec, take_keywords


def rate_of(function, beta, sigmoid=False, neg_eigval=False):
    """The spec's rate and the arrays for it."""
    if neg_eigval and not sigmoid:
        raise ArgumentError(
            f"{function}: allow_neg_eigval=True wants use_beta_sigmoid_in_kernel=True"
        )
    if beta is None:
        return "1", {}
    if beta.ndim == 4:
        refuse(function, "beta for each channel of V", "give [B, T, H]")
    return ("2 sigmoid" if neg_eigval else "sigmoid" if sigmoid else "beta"), {"beta": fp32(beta)}


def chunk_delta_rule(
    q,
    k,
    v,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    **kwargs,
):
    """S <- S + k (beta (v - S' k))', o = scale S' q.

    q, k [B,T,H,K], v [B,T,H,V], beta [B,T,H] in [0,2]; keys of norm 1, or use_qk_l2norm_in_kernel.
    Returns o [B,T,H,V] and the final state, float32 [N,H,K,V], or None.
    """
    function = "chunk_delta_rule"
    take_keywords(function, kwargs)
    rate, arrays = rate_of(function, beta)
    text = spec(function, scale, rate=rate, l2norm=bool(use_qk_l2norm_in_kernel))
    return chunked(
        function,
        text,
        {"q": q, "k": k, "v": v, **arrays},
        initial_state,
        output_final_state,
        cu_seqlens,
    )


def fused_recurrent_delta_rule(
    q,
    k,
    v,
    beta=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    cu_seqlens=None,
):
    """chunk_delta_rule token by token, for decoding. beta None is 1."""
    function = "fused_recurrent_delta_rule"
    rate, arrays = rate_of(function, beta)
    text = spec(function, scale, rate=rate, l2norm=bool(use_qk_l2norm_in_kernel))
    return recurrent(
        function,
        text,
        {"q": q, "k": k, "v": v, **arrays},
        initial_state,
        output_final_state,
        cu_seqlens,
    )
