# SPDX-License-Identifier: MIT
"""Linear attention, with and without a normaliser, after fla.ops.linear_attn.

A normalised call without states is one kernel. The state of a normalised call is a pair: that of
the plain op, and z [N,1,H,K], the sum of the keys. Such a call runs the plain op twice: on v, and on
columns of ones, whose o is the normaliser and whose state is z. (A normaliser's op has z in its n0
and nt, too, but is not used for that yet.)
"""

from ._call import chunked, recurrent, refuse_reverse, spec

EPS = 1e-10
COLUMNS = 16  # the fewest value channels that an op has


def _normalized(run, function, q, k, v, scale, initial_state, output_final_state, cu_seqlens):
    kv, z = initial_state if isinstance(initial_state, tuple) else (initial_state, None)
    text = spec(function, scale)
    ones = v.new_ones((1, 1, 1, COLUMNS)).expand(*k.shape[:3], COLUMNS)
    z0 = z if z is None else z.squeeze(1).unsqueeze(-1).expand(*(-1,) * 3, COLUMNS).contiguous()
    o, kv = run(function, text, {"q": q, "k": k, "v": v}, kv, output_final_state, cu_seqlens)
    rowsum, z = run(function, text, {"q": q, "k": k, "v": ones}, z0, output_final_state, cu_seqlens)
    o = o / (rowsum[..., :1] + EPS)
    return o, (kv, z if z is None else z[..., 0].unsqueeze(1))


def chunk_linear_attn(
    q,
    k,
    v,
    scale=None,
    initial_state=None,
    output_final_state=False,
    normalize=True,
    cu_seqlens=None,
):
    """o = scale S' q with S <- S + k v'; normalize: divided by scale q . (sum of keys) + 1e-10.

    q, k [B,T,H,K], v [B,T,H,V]. Returns o [B,T,H,V] and the final state: [N,H,K,V] or None; with
    normalize a pair (state, z [N,1,H,K]), of Nones if it was not asked for.
    """
    function, arrays = "chunk_linear_attn", {"q": q, "k": k, "v": v}
    if not normalize:
        return chunked(
            function, spec(function, scale), arrays, initial_state, output_final_state, cu_seqlens
        )
    if initial_state is None and not output_final_state:
        text = spec(function, scale, field="normalize")
        return chunked(function, text, arrays, None, False, cu_seqlens)[0], (None, None)
    return _normalized(
        chunked, function, q, k, v, scale, initial_state, output_final_state, cu_seqlens
    )


def fused_recurrent_linear_attn(
    q,
    k,
    v,
    scale=None,
    initial_state=None,
    output_final_state=False,
    reverse=False,
    normalize=False,
    cu_seqlens=None,
):
    """chunk_linear_attn token by token, for decoding."""
    function = "fused_recurrent_linear_attn"
    refuse_reverse(function, reverse)
    if normalize:
        return _normalized(
            recurrent, function, q, k, v, scale, initial_state, output_final_state, cu_seqlens
        )
    return recurrent(
        function,
        spec(function, scale),
        {"q": q, "k": k, "v": v},
        initial_state,
        output_final_state,
        cu_seqlens,
    )
