# SPDX-License-Identifier: MIT
"""The gated delta rule (Gated DeltaNet), after fla.ops.gated_delta_rule."""

from ..errors import ArgumentError
from ._call import chunked, fp32, recurrent, refuse, spec, take_keywords, v_first
from .delta_rule import rate_of


def _gate(function, g, A_log, dt_bias, use_gate_in_kernel):
    """The spec's decay by g, and the arrays for it."""
    if not use_gate_in_kernel:
        return "g", {"g": fp32(g)}
    if A_log is None:
        raise ArgumentError(f"{function}: use_gate_in_kernel=True wants A_log")
    arrays = {"g": fp32(g), "A_log": fp32(A_log).reshape(-1)}
    if dt_bias is None:
        return "gate", arrays
    return "gate, bias", {**arrays, "dt_bias": fp32(dt_bias).reshape(-1)}


def chunk_gated_delta_rule(
    q,
    k,
    v,
    g,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    cp_context=None,
    **kwargs,
):
    """S <- exp(g) S, then S <- S + k (beta (v - S' k))'; o = scale S' q.

    q, k [B,T,H,K], v [B,T,HV,V], g and beta [B,T,HV], where H divides HV. g is a logarithm, at most
    0; with use_gate_in_kernel=True it is -exp(A_log) softplus(g + dt_bias), A_log and dt_bias [HV].
    Returns o [B,T,HV,V] and the final state, float32 [N,HV,K,V], or None.
    """
    function = "chunk_gated_delta_rule"
    if cp_context is not None:
        refuse(function, "cp_context", "split by heads, or hand states on by initial_state")
    state_v_first = v_first(function, state_v_first, kwargs)
    in_kernel, A_log, dt_bias = take_keywords(
        function, kwargs, ("use_gate_in_kernel", "A_log", "dt_bias")
    )
    decay, gates = _gate(function, g, A_log, dt_bias, in_kernel)
    rate, rates = rate_of(function, beta, use_beta_sigmoid_in_kernel, allow_neg_eigval)
    text = spec(function, scale, (decay,), rate, bool(use_qk_l2norm_in_kernel))
    return chunked(
        function,
        text,
        {"q": q, "k": k, "v": v, **gates, **rates},
        initial_state,
        output_final_state,
        cu_seqlens,
        state_v_first,
    )


def fused_recurrent_gated_delta_rule(
    q,
    k,
    v,
    g=None,
    gk=None,
    gv=None,
    beta=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    use_gate_in_kernel=False,
    A_log=None,
    dt_bias=None,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    state_v_first=False,
    cu_seqlens=None,
    **kwargs,
):
    """chunk_gated_delta_rule token by token, for decoding; gates over K and V. beta None: 1."""
    function = "fused_recurrent_gated_delta_rule"
    state_v_first = v_first(function, state_v_first, kwargs)
    take_keywords(function, kwargs)
    if gv is not None and cu_seqlens is not None:
        refuse(function, "gv with cu_seqlens", "call it once for each sequence")
    decays, gates = (), {}
    if use_gate_in_kernel and g is None:
        raise ArgumentError(f"{function}: use_gate_in_kernel=True wants g")
    if g is not None:
        decay, gates = _gate(function, g, A_log, dt_bias, use_gate_in_kernel)
        decays = (decay,)
    for name, gate in (("gk", gk), ("gv", gv)):
        if gate is not None:
            decays, gates = (*decays, name), {**gates, name: fp32(gate)}
    rate, rates = rate_of(function, beta, use_beta_sigmoid_in_kernel, allow_neg_eigval)
    text = spec(function, scale, decays, rate, bool(use_qk_l2norm_in_kernel))
    return recurrent(
        function,
        text,
        {"q": q, "k": k, "v": v, **gates, **rates},
        initial_state,
        output_final_state,
        cu_seqlens,
        state_v_first,
    )


chunk_gdn = chunk_gated_delta_rule
fused_recurrent_gdn = fused_recurrent_gated_delta_rule
