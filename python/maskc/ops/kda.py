# SPDX-License-Identifier: MIT
"""Kimi delta attention: the delta rule with a gate for each channel of k, after fla.ops.kda."""

from ..errors import ArgumentError
from ._call import chunked, fp32, recurrent, refuse, require_fp32, spec, take_keywords, v_first
from .delta_rule import rate_of


def _gate(function, g, A_log, dt_bias, use_gate_in_kernel, lower_bound):
    """The spec's decay by g, and the arrays for it."""
    if not use_gate_in_kernel:
        return "g over dk", {"g": fp32(g)}
    if A_log is None:
        raise ArgumentError(f"{function}: use_gate_in_kernel=True wants A_log")
    arrays = {"g": fp32(g), "A_log": fp32(A_log).reshape(-1)}
    decay = "gate over dk" if lower_bound is None else "bounded gate over dk"
    if dt_bias is None:
        return decay, arrays
    return decay + ", bias", {**arrays, "dt_bias": fp32(dt_bias).reshape(-1, g.shape[-1])}


def _of(
    function,
    q,
    k,
    v,
    g,
    beta,
    scale,
    A_log,
    dt_bias,
    l2norm,
    use_gate,
    use_sigmoid,
    neg_eigval,
    lower_bound,
):
    """The spec's text and the arrays."""
    lower_bound = lower_bound if use_gate else None
    decay, gates = _gate(function, g, A_log, dt_bias, use_gate, lower_bound)
    rate, rates = rate_of(function, beta, use_sigmoid, neg_eigval)
    text = spec(function, scale, (decay,), rate, bool(l2norm), lower_bound=lower_bound)
    return text, {"q": q, "k": k, "v": v, **gates, **rates}


def chunk_kda(
    q,
    k,
    v,
    g,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    use_gate_in_kernel=False,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    safe_gate=False,
    lower_bound=None,
    disable_recompute=False,
    return_intermediate_states=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    cp_context=None,
    **kwargs,
):
    """S <- diag(exp(g)) S, then S <- S + k (beta (v - S' k))'; o = scale S' q.

    q, k [B,T,H,K], v [B,T,HV,V], g [B,T,HV,K], beta [B,T,HV], where H divides HV. g is a logarithm,
    at most 0; with use_gate_in_kernel=True it is -exp(A_log) softplus(g + dt_bias), with a
    lower_bound lower_bound sigmoid(exp(A_log) (g + dt_bias)); A_log [HV], dt_bias [HV K].
    disable_recompute is of the backward pass. Returns o [B,T,HV,V] and the final state, float32
    [N,HV,K,V], or None.
    """
    function = "chunk_kda"
    if cp_context is not None:
        refuse(function, "cp_context", "split by heads, or hand states on by initial_state")
    if return_intermediate_states:
        refuse(
            function,
            "return_intermediate_states=True",
            "take output_final_state of calls up to where a state is wanted",
        )
    if safe_gate and use_gate_in_kernel and not (lower_bound is not None and -5 <= lower_bound < 0):
        raise ArgumentError(
            f"{function}: safe_gate=True wants a lower_bound in [-5, 0); it is {lower_bound}"
        )
    require_fp32(function, initial_state)
    state_v_first = v_first(function, state_v_first, kwargs)
    A_log, dt_bias = take_keywords(function, kwargs, ("A_log", "dt_bias"))
    text, arrays = _of(
        function,
        q,
        k,
        v,
        g,
        beta,
        scale,
        A_log,
        dt_bias,
        use_qk_l2norm_in_kernel,
        use_gate_in_kernel,
        use_beta_sigmoid_in_kernel,
        allow_neg_eigval,
        lower_bound,
    )
    return chunked(
        function, text, arrays, initial_state, output_final_state, cu_seqlens, state_v_first
    )


def fused_recurrent_kda(
    q,
    k,
    v,
    g,
    beta,
    A_log=None,
    dt_bias=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    use_gate_in_kernel=False,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    lower_bound=None,
    state_v_first=False,
    cu_seqlens=None,
    **kwargs,
):
    """chunk_kda token by token, for decoding."""
    function = "fused_recurrent_kda"
    state_v_first = v_first(function, state_v_first, kwargs)
    take_keywords(function, kwargs)
    text, arrays = _of(
        function,
        q,
        k,
        v,
        g,
        beta,
        scale,
        A_log,
        dt_bias,
        use_qk_l2norm_in_kernel,
        use_gate_in_kernel,
        use_beta_sigmoid_in_kernel,
        allow_neg_eigval,
        lower_bound,
    )
    return recurrent(
        function, text, arrays, initial_state, output_final_state, cu_seqlens, state_v_first
    )
