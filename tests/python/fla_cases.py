# SPDX-License-Identifier: MIT
"""What gpu_fla.py runs: calls of maskc.ops, their arrays, and what they mean in float64.

    CASES           {function: [((B, T, H, HV, K, V), type, options)]}
    inputs(...)     a case's arguments, and what recurrence() makes of them
    expected(...)   o and the final state

The shapes that are not timed are those of FLA's tests (tests/ops/test_*.py at 0.5.2). Unlike
reference.py this computes on the device of the arrays, since the cases are large.
"""

import torch
import torch.nn.functional as F

HALF, BF16, FULL = torch.float16, torch.bfloat16, torch.float32

# options: those of the function, and
#   cu_seqlens  a list           h0        from an initial state to a final one
#   normalizer  divides gates    mask      the part of the gates that is 0
#   timed       FLA runs, too, and both are timed


def _square(*shapes, dtype=HALF):
    return [((B, T, H, H, D, D), dtype, options) for B, T, H, D, options in shapes]


CASES = {
    "chunk_simple_gla": _square(
        (2, 1, 2, 64, {"scale": 1, "h0": True}),
        (2, 15, 2, 32, {"scale": 0.1, "normalizer": 0.1, "h0": True}),
        (2, 63, 2, 100, {"scale": 1, "normalizer": 10, "h0": True}),
        (2, 300, 2, 256, {"scale": 0.1, "h0": True}),
        (1, 512, 2, 64, {"cu_seqlens": [0, 171, 512], "h0": True}),
        (1, 286, 2, 100, {"cu_seqlens": [0, 100, 286], "h0": True}),
        (2, 300, 2, 64, {"state_v_first": True, "h0": True}),
    ),
    "chunk_retention": [
        ((2, 300, 2, 2, 64, 128), HALF, {"h0": True}),
        ((2, 63, 2, 2, 100, 200), HALF, {"h0": True}),
        ((1, 512, 2, 2, 32, 64), HALF, {"cu_seqlens": [0, 171, 512], "h0": True}),
    ],
    "chunk_lightning_attn": _square(
        (2, 300, 4, 64, {"layer_idx": 3, "num_layers": 12, "h0": True})
    ),
    "chunk_linear_attn": _square(
        (2, 128, 2, 64, {"normalize": False, "h0": True}),
        (2, 64, 2, 128, {"normalize": True}),
        (2, 300, 2, 64, {"normalize": True, "h0": True}),
        (1, 1000, 4, 64, {"normalize": True, "cu_seqlens": [0, 256, 500, 1000], "h0": True}),
    ),
    "chunk_gla": _square(
        (1, 63, 1, 64, {"h0": True}),
        (2, 1024, 4, 60, {"h0": True}),
        (2, 1024, 8, 128, {"normalizer": 0.1, "h0": True}),
        (2, 1024, 8, 128, {"normalizer": 10, "h0": True}),
        (1, 128, 4, 256, {"h0": True}),
        (1, 16, 4, 64, {"cu_seqlens": [0, 0, 16], "h0": True}),
        (1, 2000, 4, 100, {"cu_seqlens": [0, 15, 100, 300, 1200, 2000], "h0": True}),
    ),
    "chunk_delta_rule": _square(
        (2, 56, 3, 60, {"h0": True}),
        (2, 400, 3, 200, {"h0": True}),
        (2, 300, 3, 64, {"use_qk_l2norm_in_kernel": True, "h0": True}),
        (1, 2000, 2, 64, {"scale": 1.0, "cu_seqlens": [0, 15, 100, 300, 1203, 2000], "h0": True}),
    ),
    "chunk_gated_delta_rule": [
        ((2, 300, 2, 2, 100, 100), HALF, {"scale": 1, "normalizer": 0.1, "h0": True}),
        ((2, 63, 2, 2, 256, 256), HALF, {"scale": 0.1, "mask": 0.5, "h0": True}),
        (
            (2, 300, 2, 4, 64, 64),
            HALF,
            {"scale": 1, "normalizer": 10, "use_qk_l2norm_in_kernel": True, "h0": True},
        ),
        (
            (1, 1000, 2, 2, 128, 128),
            HALF,
            {"scale": 1, "mask": 0.5, "cu_seqlens": [0, 122, 229, 400, 1000], "h0": True},
        ),
        (
            (2, 300, 2, 4, 64, 64),
            BF16,
            {
                "use_gate_in_kernel": True,
                "use_qk_l2norm_in_kernel": True,
                "use_beta_sigmoid_in_kernel": True,
                "allow_neg_eigval": True,
                "h0": True,
            },
        ),
    ],
    "chunk_kda": _square(
        (1, 63, 1, 64, {"scale": 1, "h0": True}),
        (2, 500, 3, 60, {"scale": 1, "h0": True}),
        (2, 1000, 3, 64, {"scale": 0.1, "mask": 0.5, "h0": True}),
        (3, 1024, 4, 100, {"scale": 1, "normalizer": 0.1, "h0": True}),
        (4, 1024, 4, 128, {"scale": 0.1, "use_qk_l2norm_in_kernel": True, "h0": True}),
        (2, 1500, 4, 128, {"scale": 0.1, "use_gate_in_kernel": True, "h0": True}),
        (
            2,
            500,
            4,
            128,
            {"use_gate_in_kernel": True, "safe_gate": True, "lower_bound": -5, "h0": True},
        ),
        (1, 2000, 4, 100, {"cu_seqlens": [0, 15, 100, 300, 1200, 2000], "h0": True}),
    ),
    "chunk_log_linear_attn": [
        ((2, 1024, 1, 8, 128, 128), BF16, {}),
        ((1, 1000, 1, 4, 64, 64), BF16, {"cu_seqlens": [0, 256, 500, 1000]}),
        ((1, 15, 1, 4, 64, 64), BF16, {"cu_seqlens": [0, 15]}),
    ],
    "fused_recurrent_simple_gla": _square(
        (2, 300, 2, 100, {"scale": 0.1, "normalizer": 10, "h0": True}),
        (2, 15, 2, 256, {"scale": 1, "h0": True}),
        dtype=FULL,
    ),
    "fused_recurrent_retention": _square((2, 63, 2, 100, {"h0": True})),
    "fused_recurrent_lightning_attn": _square(
        (2, 63, 4, 64, {"layer_idx": 3, "num_layers": 12, "h0": True})
    ),
    "fused_recurrent_linear_attn": _square(
        (2, 128, 2, 64, {"normalize": False}),
        (2, 64, 2, 128, {"normalize": True, "h0": True}),
        dtype=FULL,
    ),
    "fused_recurrent_gla": _square(
        (1, 63, 1, 64, {"h0": True}),
        (2, 1024, 4, 60, {"h0": True}),
        (2, 64, 4, 64, {"gv": True, "h0": True}),
        dtype=FULL,
    ),
    "fused_recurrent_delta_rule": _square(
        (2, 56, 3, 60, {"h0": True}), (2, 300, 3, 200, {"h0": True})
    ),
    "fused_recurrent_gated_delta_rule": [
        ((2, 300, 2, 4, 100, 100), FULL, {"scale": 1, "normalizer": 10, "h0": True}),
        ((2, 63, 2, 4, 64, 64), HALF, {"scale": 1, "use_qk_l2norm_in_kernel": True, "h0": True}),
    ],
    "fused_recurrent_kda": _square(
        (2, 512, 3, 60, {"scale": 1, "h0": True}),
        (3, 1000, 4, 100, {"scale": 0.1, "use_qk_l2norm_in_kernel": True, "h0": True}),
        dtype=FULL,
    ),
}

for name, more in {
    "chunk_linear_attn": {"normalize": False},
    "chunk_lightning_attn": {"layer_idx": 3, "num_layers": 12},
    "chunk_gated_delta_rule": {"use_qk_l2norm_in_kernel": True},
}.items():
    CASES[name].append(((8, 8192, 16, 16, 128, 128), BF16, {**more, "timed": True}))
for name in ("chunk_simple_gla", "chunk_retention", "chunk_gla", "chunk_delta_rule", "chunk_kda"):
    CASES[name].append(((8, 8192, 16, 16, 128, 128), BF16, {"timed": True}))
CASES["chunk_linear_attn"].append(
    ((8, 8192, 16, 16, 128, 128), BF16, {"normalize": True, "timed": True})
)
CASES["chunk_log_linear_attn"].append(((2, 8192, 1, 16, 128, 128), BF16, {"timed": True}))
for name in (
    "fused_recurrent_simple_gla",
    "fused_recurrent_gla",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_kda",
):
    CASES[name].append(((256, 1, 32, 32, 128, 128), BF16, {"h0": True, "timed": True}))

OURS_ALONE = {"h0", "normalizer", "mask", "timed", "cu_seqlens", "gv"}


# ---- a case's arrays, and what they mean ----


def inputs(function, shape, dtype, options, device):
    """(positional and keyword arguments as a dict, what recurrence() takes)."""
    B, T, H, HV, K, V = shape
    make = torch.Generator(device).manual_seed(42)

    def randn(*size, dtype=dtype):
        return torch.randn(*size, generator=make, device=device).to(dtype)

    def rand(*size, dtype=FULL):
        return torch.rand(*size, generator=make, device=device).to(dtype)

    def gate(*size):
        g = F.logsigmoid(randn(*size, dtype=FULL)) / options.get("normalizer", 1)
        return g * (rand(*size) >= options.get("mask", 0))

    a = {
        "q": randn(B, T, H, K),
        "k": F.normalize(randn(B, T, H, K, dtype=FULL), dim=-1).to(dtype),
        "v": randn(B, T, HV, V),
    }
    means = {"decays": [], "beta": None, "scale": options.get("scale"), "l2norm": False}
    kind = function.replace("chunk_", "").replace("fused_recurrent_", "")
    means["l2norm"] = options.get("use_qk_l2norm_in_kernel", False)
    head = torch.arange(HV, device=device, dtype=torch.float64)
    if kind == "linear_attn" and options.get("normalize"):
        a["q"], a["k"] = a["q"].abs(), a["k"].abs()
    if kind == "retention":
        means["decays"] = [torch.log(1 - 2.0 ** (-5 - head)).expand(B, T, HV)]
    if kind == "lightning_attn":
        part = 1 - options["layer_idx"] / options["num_layers"]
        means["decays"] = [(-8 / HV * part * head).expand(B, T, HV)]
    if kind in ("simple_gla", "gla", "gated_delta_rule", "kda", "log_linear_attn"):
        a["g"], means["decays"] = _gates(kind, shape, options, gate, randn, a)
    if kind in ("delta_rule", "gated_delta_rule", "kda"):
        a["beta"] = rand(B, T, HV)
        means["beta"] = a["beta"].double()
        if options.get("use_beta_sigmoid_in_kernel"):
            means["beta"] = means["beta"].sigmoid() * (2 if options.get("allow_neg_eigval") else 1)
    if kind == "log_linear_attn":
        a["level_scales"] = rand(B, T, HV, (T - 1).bit_length() + 1, dtype=dtype)
    if function == "fused_recurrent_gla":
        a["gk"] = a.pop("g")
        if options.get("gv"):
            a["gv"] = gate(B, T, HV, V)
            means["decays"].append(("v", a["gv"]))
    a.update({n: x for n, x in options.items() if n not in OURS_ALONE})
    if "cu_seqlens" in options:
        a["cu_seqlens"] = torch.tensor(options["cu_seqlens"], device=device)
    if options.get("h0"):
        N = len(options.get("cu_seqlens", range(B + 1))) - 1
        h0 = randn(N, HV, K, V, dtype=FULL)
        means["h0"] = h0
        a["initial_state"] = (
            h0.transpose(-1, -2).contiguous() if options.get("state_v_first") else h0
        )
        if options.get("normalize"):
            means["z0"] = rand(N, 1, H, K)
            a["initial_state"] = h0, means["z0"]
    if kind != "log_linear_attn" and not (options.get("timed") and "h0" not in options):
        a["output_final_state"] = True
    return a, means


def _gates(kind, shape, options, gate, randn, a):
    """g as the function takes it, and its logarithms."""
    B, T, H, HV, K, V = shape
    size = (B, T, HV, K) if kind in ("gla", "kda") else (B, T, HV)
    if not options.get("use_gate_in_kernel"):
        g = gate(*size)
        return g, [g]
    g = randn(*size)
    a["A_log"] = randn(HV, dtype=FULL)
    a["dt_bias"] = randn(*((HV * K,) if kind == "kda" else (HV,)), dtype=FULL)
    shaped = [1, 1, HV] + [1] * (kind == "kda")
    A = a["A_log"].double().exp().view(shaped)
    x = g.double() + a["dt_bias"].double().view(size[2:])
    if "lower_bound" in options:
        return g, [options["lower_bound"] * torch.sigmoid(A * x)]
    return g, [-A * F.softplus(x)]


def recurrence(q, k, v, decays, beta, scale, l2norm, h0=None):
    """o and the final state of one batch, in float64."""
    H = max(q.shape[2], v.shape[2])
    q, k, v = (x.double().repeat_interleave(H // x.shape[2], 2) for x in (q, k, v))
    if l2norm:
        q, k = (x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt() for x in (q, k))
    B, T, _, K = k.shape
    S = (
        torch.zeros(B, H, K, v.shape[3], dtype=torch.float64, device=q.device)
        if h0 is None
        else h0.double()
    )
    factors = []
    for g in decays:
        along_v = isinstance(g, tuple)
        f = (g[1] if along_v else g).double().exp()
        if along_v:
            factors.append(f[..., None, :])
        else:  # [B,T,H,1,1] or [B,T,H,K,1]
            factors.append(f[..., None] if f.ndim == 4 else f[..., None, None])
    o = torch.empty_like(v)
    for t in range(T):
        for f in factors:
            S = S * f[:, t]
        write = v[:, t]
        if beta is not None:
            write = beta[:, t, :, None] * (write - torch.einsum("bhk,bhkv->bhv", k[:, t], S))
        S = S + k[:, t, :, :, None] * write[:, :, None]
        o[:, t] = torch.einsum("bhk,bhkv->bhv", q[:, t], S)
    return o * (K**-0.5 if scale is None else scale), S


def log_linear(q, k, v, g, levels):
    """By its definition, a head and a batch at a time to save memory."""
    B, T, H, V = v.shape
    t = torch.arange(T, device=q.device)
    xor = t[:, None] ^ t[None]
    level = torch.where(
        xor > 0, torch.floor(torch.log2(xor.double())) + 1, torch.zeros_like(xor).double()
    ).long()
    o = torch.empty(B, T, H, V, dtype=torch.float64, device=q.device)
    for b in range(B):
        for h in range(H):
            G = g[b, :, h].double().cumsum(0)
            M = (
                torch.gather(levels[b, :, h].double(), 1, level)
                * (G[:, None] - G[None]).tril().exp().tril()
            )
            A = q[b, :, h * q.shape[2] // H].double() @ k[b, :, h * k.shape[2] // H].double().T
            o[b, :, h] = (A * M) @ v[b, :, h].double()
    return o


def sequences(cu_seqlens, x):
    if isinstance(x, tuple):
        return [(x[0], y) for y in sequences(cu_seqlens, x[1])]
    return [x[:, b:e] for b, e in zip(cu_seqlens[:-1], cu_seqlens[1:])]


def expected(function, a, means, options):
    """o and the final state, in float64; of a packed batch sequence by sequence."""
    cu_seqlens = options.get("cu_seqlens")
    rows = [a[n] for n in "qkv"]
    if function == "chunk_log_linear_attn":
        parts = [*rows, a["g"], a["level_scales"]]
        if cu_seqlens is None:
            return log_linear(*parts), None
        return torch.cat(
            [log_linear(*p) for p in zip(*(sequences(cu_seqlens, x) for x in parts))], 1
        ), None
    decays, beta, h0, z0 = means["decays"], means["beta"], means.get("h0"), means.get("z0")
    split = (lambda x: [x]) if cu_seqlens is None else (lambda x: sequences(cu_seqlens, x))
    o, states = [], []
    count = 1 if cu_seqlens is None else len(cu_seqlens) - 1
    for n in range(count):
        q, k, v = (split(x)[n] for x in rows)
        first = None if h0 is None else h0 if cu_seqlens is None else h0[n : n + 1]
        one, S = recurrence(
            q,
            k,
            v,
            [split(g)[n] for g in decays],
            None if beta is None else split(beta)[n],
            means["scale"],
            means["l2norm"],
            first,
        )
        if options.get("normalize"):
            z = 0 if z0 is None else z0 if cu_seqlens is None else z0[n : n + 1]
            scale = k.shape[-1] ** -0.5 if means["scale"] is None else means["scale"]
            one = one / (
                (q.double() * (k.double().cumsum(1) + z)).sum(-1, keepdim=True) * scale + 1e-10
            )
        o.append(one)
        states.append(S)
    return torch.cat(o, 1), torch.cat(states, 0)


def error(x, reference):
    if x is None or reference is None:
        return None
    x = x.double()
    return (
        float((x - reference).norm() / reference.norm())
        if bool(torch.isfinite(x).all())
        else float("inf")
    )
