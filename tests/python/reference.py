# SPDX-License-Identifier: MIT
"""What the ops mean, token by token in float64, for the tests to compare with.

    S <- S diag(exp(g)) or exp(g) S, then S <- S + k (beta (v - S' k))' or S <- S + k v'
    o = scale S' q

Arrays are NumPy's, [B,T,heads,channels] of any number of heads that divides the largest.
"""

import numpy as np


def heads(x, H):
    """x with H heads, head h of which is head h * heads / H."""
    return np.repeat(x, H // x.shape[2], axis=2)


def recurrence(q, k, v, decays=(), beta=None, scale=None, h0=None):
    """o and the state after the last token. decays: logarithms, [B,T,h], [B,T,h,dk] or, as
    ("v", g), [B,T,h,dv]."""
    q, k, v = (np.asarray(x, "float64") for x in (q, k, v))
    H = max(x.shape[2] for x in (q, k, v))
    q, k, v = (heads(x, H) for x in (q, k, v))
    B, T, _, dk = k.shape
    scale = dk**-0.5 if scale is None else scale
    S = np.zeros((B, H, dk, v.shape[3])) if h0 is None else np.array(h0, "float64")
    o = np.zeros(v.shape)
    for t in range(T):
        for g in decays:
            along_v = isinstance(g, tuple)
            factor = np.exp(heads(np.asarray(g[1] if along_v else g, "float64"), H)[:, t])
            shape = factor[:, :, None, :] if along_v else factor.reshape(B, H, -1, 1)
            S = S * shape
        write = v[:, t]
        if beta is not None:
            error = write - np.einsum("bhk,bhkv->bhv", k[:, t], S)
            write = heads(np.asarray(beta, "float64"), H)[:, t, :, None] * error
        S = S + k[:, t, :, :, None] * write[:, :, None, :]
        o[:, t] = scale * np.einsum("bhk,bhkv->bhv", q[:, t], S)
    return o, S


def packed(cu_seqlens, h0, arrays, **options):
    """recurrence() of each sequence of a packed batch. arrays: q, k, v, then decays, then beta."""
    o, states = [], []
    for n, (begin, end) in enumerate(zip(cu_seqlens[:-1], cu_seqlens[1:])):
        q, k, v = (x[:, begin:end] for x in arrays[:3])
        decays = [g[:, begin:end] for g in options.get("decays", ())]
        beta = options.get("beta")
        one = recurrence(
            q,
            k,
            v,
            decays,
            None if beta is None else beta[:, begin:end],
            options.get("scale"),
            None if h0 is None else h0[n : n + 1],
        )
        o.append(one[0])
        states.append(one[1])
    return np.concatenate(o, 1), np.concatenate(states, 0)


def l2norm(x):
    x = np.asarray(x, "float64")
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def softplus(x):
    return np.logaddexp(0, np.asarray(x, "float64"))


def log_linear(q, k, v, g, level_scales):
    """The Fenwick mask by its definition: a pair has the level of the bit length of t xor s."""
    H = v.shape[2]
    q, k = heads(q, H), heads(k, H)
    o = np.zeros(v.shape)
    G = np.cumsum(g, 1)
    for t in range(v.shape[1]):
        for s in range(t + 1):
            weight = level_scales[:, t, :, (t ^ s).bit_length()] * np.exp(G[:, t] - G[:, s])
            o[:, t] += (weight * (q[:, t] * k[:, s]).sum(-1))[..., None] * v[:, s]
    return o


def error(x, expected):
    """Relative L2 error; inf where x is no number."""
    x = np.asarray(x, "float64")
    difference = np.linalg.norm(x - expected) / np.linalg.norm(expected)
    return difference if np.isfinite(x).all() else np.inf
