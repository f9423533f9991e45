# SPDX-License-Identifier: MIT
"""maskc.ops: every function against the recurrence in float64, on the CPU device.

Each case of CASES is a call, beside what it means in terms of reference.recurrence.
"""

import inspect
import unittest

import support

support.need("numpy", "torch")

import numpy as np
import torch
from reference import error, l2norm, log_linear, packed, recurrence, sigmoid, softplus

from maskc import ops

B, T, H, HV, K, V = 2, 70, 2, 4, 16, 32
CU_SEQLENS = [0, 33, 33, 70]


def numpy(x):
    return x.detach().to(torch.float64).numpy()


def world(batch=B, heads=H, value_heads=H):
    """Arrays by the names of arguments; norms and gates as models have them."""
    torch.manual_seed(1)
    unit = torch.nn.functional.normalize
    a = {
        "q": torch.randn(batch, T, heads, K).bfloat16(),
        "k": unit(torch.randn(batch, T, heads, K), dim=-1).bfloat16(),
        "v": torch.randn(batch, T, value_heads, V).bfloat16(),
        "g": -torch.rand(batch, T, value_heads),
        "gk": -torch.rand(batch, T, value_heads, K),
        "gv": -torch.rand(batch, T, value_heads, V),
        "raw": torch.randn(batch, T, value_heads),
        "raw_k": torch.randn(batch, T, value_heads, K),
        "beta": torch.rand(batch, T, value_heads),
        "A_log": torch.randn(value_heads),
        "dt_bias": torch.randn(value_heads),
        "dt_bias_k": torch.randn(value_heads * K),
        "h0": torch.randn(batch, value_heads, K, V),
    }
    a["positive_q"], a["positive_k"] = a["q"].abs(), a["k"].abs()
    return a


def constant(slopes, a):
    """Decays of heads as an array over tokens."""
    return np.broadcast_to(np.asarray(slopes, "float64"), (*a["v"].shape[:2], len(slopes)))


def retention(a):
    return constant([np.log(1 - 2.0 ** (-5 - h)) for h in range(a["v"].shape[2])], a)


def lightning(a, layer, layers):
    H = a["v"].shape[2]
    return constant([-(8 / H) * (1 - layer / layers) * h for h in range(H)], a)


def gate(a):
    A, bias = numpy(a["A_log"]), numpy(a["dt_bias"])
    return -np.exp(A) * softplus(numpy(a["raw"]) + bias)


def channel_gate(a, lower_bound=None):
    A, bias = numpy(a["A_log"])[:, None], numpy(a["dt_bias_k"]).reshape(-1, K)
    if lower_bound is None:
        return -np.exp(A) * softplus(numpy(a["raw_k"]) + bias)
    return lower_bound * sigmoid(np.exp(A) * (numpy(a["raw_k"]) + bias))


# (function, positional arguments, keywords, what it means)
CASES = [
    ("chunk_simple_gla", "q k v g", {}, lambda a: {"decays": [numpy(a["g"])]}),
    ("chunk_simple_gla", "q k v", {"scale": 0.3}, lambda a: {"scale": 0.3}),
    ("chunk_retention", "q k v", {}, lambda a: {"decays": [retention(a)]}),
    (
        "chunk_lightning_attn",
        "q k v",
        {"layer_idx": 3, "num_layers": 8},
        lambda a: {"decays": [lightning(a, 3, 8)]},
    ),
    ("chunk_linear_attn", "q k v", {"normalize": False}, lambda a: {}),
    ("chunk_gla", "q k v gk", {}, lambda a: {"decays": [numpy(a["gk"])]}),
    ("chunk_delta_rule", "q k v beta", {}, lambda a: {"beta": numpy(a["beta"])}),
    (
        "chunk_delta_rule",
        "q k v beta",
        {"use_qk_l2norm_in_kernel": True},
        lambda a: {"beta": numpy(a["beta"]), "l2norm": True},
    ),
    (
        "chunk_gated_delta_rule",
        "q k v g beta",
        {},
        lambda a: {"decays": [numpy(a["g"])], "beta": numpy(a["beta"])},
    ),
    (
        "chunk_gated_delta_rule",
        "q k v raw raw",
        {
            "use_gate_in_kernel": True,
            "A_log": "A_log",
            "dt_bias": "dt_bias",
            "use_qk_l2norm_in_kernel": True,
            "use_beta_sigmoid_in_kernel": True,
            "allow_neg_eigval": True,
        },
        lambda a: {"decays": [gate(a)], "beta": 2 * sigmoid(numpy(a["raw"])), "l2norm": True},
    ),
    (
        "chunk_kda",
        "q k v gk beta",
        {},
        lambda a: {"decays": [numpy(a["gk"])], "beta": numpy(a["beta"])},
    ),
    (
        "chunk_kda",
        "q k v raw_k raw",
        {
            "use_gate_in_kernel": True,
            "A_log": "A_log",
            "dt_bias": "dt_bias_k",
            "use_qk_l2norm_in_kernel": True,
            "use_beta_sigmoid_in_kernel": True,
        },
        lambda a: {"decays": [channel_gate(a)], "beta": sigmoid(numpy(a["raw"])), "l2norm": True},
    ),
    (
        "chunk_kda",
        "q k v raw_k beta",
        {
            "use_gate_in_kernel": True,
            "A_log": "A_log",
            "dt_bias": "dt_bias_k",
            "safe_gate": True,
            "lower_bound": -5.0,
        },
        lambda a: {"decays": [channel_gate(a, -5.0)], "beta": numpy(a["beta"])},
    ),
]

STEPS = [
    ("fused_recurrent_simple_gla", "q k v g", {}, lambda a: {"decays": [numpy(a["g"])]}),
    ("fused_recurrent_retention", "q k v", {}, lambda a: {"decays": [retention(a)]}),
    (
        "fused_recurrent_lightning_attn",
        "q k v",
        {"layer_idx": 3, "num_layers": 8},
        lambda a: {"decays": [lightning(a, 3, 8)]},
    ),
    ("fused_recurrent_linear_attn", "q k v", {}, lambda a: {}),
    (
        "fused_recurrent_gla",
        "q k v gk gv",
        {},
        lambda a: {"decays": [numpy(a["gk"]), ("v", numpy(a["gv"]))]},
    ),
    (
        "fused_recurrent_delta_rule",
        "q k v",
        {"beta": None},
        lambda a: {"beta": np.ones(a["g"].shape)},
    ),
    (
        "fused_recurrent_gated_delta_rule",
        "q k v g gk gv beta",
        {},
        lambda a: {
            "decays": [numpy(a["g"]), numpy(a["gk"]), ("v", numpy(a["gv"]))],
            "beta": numpy(a["beta"]),
        },
    ),
    (
        "fused_recurrent_kda",
        "q k v raw_k beta",
        {"use_gate_in_kernel": True, "A_log": "A_log", "dt_bias": "dt_bias_k", "lower_bound": -5.0},
        lambda a: {"decays": [channel_gate(a, -5.0)], "beta": numpy(a["beta"])},
    ),
]

GROUPED = {
    "chunk_gated_delta_rule",
    "chunk_kda",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_kda",
}


def called(case, a, **more):
    function, positional, keywords, _ = case
    arguments = {n: a[x] if isinstance(x, str) else x for n, x in keywords.items()}
    with torch.no_grad():
        return getattr(ops, function)(*(a[n] for n in positional.split()), **arguments, **more)


def meant(case, a, cu_seqlens=None, h0=None):
    means = dict(case[3](a))
    q, k, v = (numpy(a[n]) for n in "qkv")
    if means.pop("l2norm", False):
        q, k = l2norm(q), l2norm(k)
    if cu_seqlens is not None:
        return packed(cu_seqlens, h0, (q, k, v), **means)
    return recurrence(q, k, v, h0=h0, **means)


class Functions(unittest.TestCase):
    def compare(self, ret, expected):
        o, ht = ret
        self.assertEqual(o.dtype, torch.bfloat16)
        self.assertLess(error(numpy(o), expected[0]), support.TOLERANCE)
        if ht is not None:
            self.assertEqual(ht.dtype, torch.float32)
            self.assertLess(error(numpy(ht), expected[1]), support.STATE_TOLERANCE)

    def arrays(self, case, batch=B):
        return world(batch, value_heads=HV if case[0] in GROUPED else H)

    def test_from_a_state_to_a_state(self):
        for case in CASES + STEPS:
            with self.subTest(case[0], **case[2]):
                a = self.arrays(case)
                ret = called(case, a, initial_state=a["h0"], output_final_state=True)
                self.compare(ret, meant(case, a, h0=numpy(a["h0"])))

    def test_no_state_by_default(self):
        for case in CASES[:1] + STEPS[:1]:
            with self.subTest(case[0]):
                a = self.arrays(case)
                o, ht = called(case, a)
                self.assertIsNone(ht)
                self.compare((o, None), meant(case, a))

    def test_packed(self):
        cu_seqlens = torch.tensor(CU_SEQLENS)
        for case in CASES + STEPS[:1]:
            with self.subTest(case[0], **case[2]):
                a = self.arrays(case, batch=1)
                h0 = torch.randn(len(CU_SEQLENS) - 1, *a["h0"].shape[1:])
                ret = called(
                    case, a, initial_state=h0, output_final_state=True, cu_seqlens=cu_seqlens
                )
                self.compare(ret, meant(case, a, CU_SEQLENS, numpy(h0)))

    def test_slopes_of_fake_tensors_are_not_kept(self):
        from torch._subclasses.fake_tensor import FakeTensorMode

        a = self.arrays(CASES[3])
        with FakeTensorMode() as mode:
            fake = [mode.from_tensor(a[n]) for n in "qkv"]
            ops.chunk_lightning_attn(*fake, 5, 9)
        with torch.no_grad():
            o, _ = ops.chunk_lightning_attn(*(a[n] for n in "qkv"), 5, 9)
        decays = [lightning(a, 5, 9)]
        expected = recurrence(*(numpy(a[n]) for n in "qkv"), decays)[0]
        self.assertLess(error(numpy(o), expected), support.TOLERANCE)

    def test_the_initial_state_stays(self):
        a = self.arrays(STEPS[0])
        h0 = a["h0"].clone()
        called(STEPS[0], a, initial_state=h0, output_final_state=True)
        self.assertTrue(torch.equal(h0, a["h0"]))

    def test_states_of_v_by_k(self):
        for case in (CASES[0], STEPS[0]):
            with self.subTest(case[0]):
                a = self.arrays(case)
                flipped = a["h0"].transpose(-1, -2).contiguous()
                o, ht = called(
                    case, a, initial_state=flipped, output_final_state=True, state_v_first=True
                )
                self.assertTrue(ht.is_contiguous())
                self.compare((o, ht.transpose(-1, -2)), meant(case, a, h0=numpy(a["h0"])))

    def test_gates_and_states_of_bf16(self):
        a = self.arrays(CASES[8])
        a["g"], a["beta"], h0 = a["g"].bfloat16(), a["beta"].bfloat16(), a["h0"].bfloat16()
        ret = called(CASES[8], a, initial_state=h0, output_final_state=True)
        self.compare(ret, meant(CASES[8], a, h0=numpy(h0)))

    def test_float32(self):
        case = CASES[0]
        a = self.arrays(case)
        a.update((n, a[n].float()) for n in "qkv")
        try:
            o, ht = called(case, a, initial_state=a["h0"], output_final_state=True)
        except NotImplementedError as lacks:
            self.skipTest(str(lacks).splitlines()[0])
        self.assertEqual(o.dtype, torch.float32)
        expected = meant(case, a, h0=numpy(a["h0"]))
        self.assertLess(error(numpy(o), expected[0]), 1e-3)
        self.assertLess(error(numpy(ht), expected[1]), 1e-3)

    def test_rows_of_float32_and_values_of_fp16(self):
        case = STEPS[0]
        a = self.arrays(case)
        a["q"], a["k"], a["v"] = a["q"].float(), a["k"].float(), a["v"].half()
        o, ht = called(case, a, output_final_state=True)
        self.assertEqual(o.dtype, torch.float16)
        expected = meant(case, a)
        self.assertLess(error(numpy(o), expected[0]), 1e-3)
        self.assertLess(error(numpy(ht), expected[1]), 1e-5)


class Normalized(unittest.TestCase):
    """chunk_linear_attn with normalize, whose state is a pair."""

    def expected(self, a, kv=None, z=None):
        q, k, v = numpy(a["positive_q"]), numpy(a["positive_k"]), numpy(a["v"])
        o, kv = recurrence(q, k, v, h0=kv)
        sums = np.cumsum(k, 1) + (0 if z is None else z)
        return o / (K**-0.5 * (q * sums).sum(-1, keepdims=True) + 1e-10), kv, sums[:, -1:]

    def test_without_a_state(self):
        a = world()
        with torch.no_grad():
            o, states = ops.chunk_linear_attn(a["positive_q"], a["positive_k"], a["v"])
        self.assertEqual(states, (None, None))
        self.assertLess(error(numpy(o), self.expected(a)[0]), support.TOLERANCE)

    def test_from_a_state_to_a_state(self):
        a = world()
        z = torch.rand(B, 1, H, K)
        for function, more in (
            (ops.chunk_linear_attn, {}),
            (ops.fused_recurrent_linear_attn, {"normalize": True}),
        ):
            with self.subTest(function.__name__), torch.no_grad():
                o, (kv, z_end) = function(
                    a["positive_q"],
                    a["positive_k"],
                    a["v"],
                    initial_state=(a["h0"], z),
                    output_final_state=True,
                    **more,
                )
                expected = self.expected(a, numpy(a["h0"]), numpy(z))
                self.assertLess(error(numpy(o), expected[0]), support.TOLERANCE)
                self.assertLess(error(numpy(kv), expected[1]), support.STATE_TOLERANCE)
                self.assertEqual(z_end.shape, z.shape)
                self.assertLess(error(numpy(z_end), expected[2]), support.STATE_TOLERANCE)


class LogLinear(unittest.TestCase):
    """chunk_log_linear_attn, whose state is a stack of states and a position."""

    LEVELS = T.bit_length() + 1

    def arrays(self):
        a = world(value_heads=HV)
        levels = torch.rand(B, T, HV, self.LEVELS)
        return a["q"][:, :, :1], a["k"][:, :, :1], a["v"], a["g"], levels

    def called(self, arrays, **more):
        try:
            with torch.no_grad():
                return ops.chunk_log_linear_attn(*arrays, **more)
        except NotImplementedError as lacks:
            self.skipTest(str(lacks).splitlines()[0])

    def test_against_the_definition(self):
        arrays = self.arrays()
        o, state = self.called(arrays)
        self.assertIsNone(state)
        self.assertLess(error(numpy(o), log_linear(*map(numpy, arrays))), support.TOLERANCE)

    def test_in_pieces(self):
        arrays = self.arrays()
        state, pieces = None, []
        for begin, end in ((0, 33), (33, 34), (34, T)):
            o, state = self.called(
                [x[:, begin:end] for x in arrays], initial_state=state, output_final_state=True
            )
            pieces.append(o)
        self.assertEqual(state.offsets.tolist(), [T] * B)
        self.assertLess(
            error(numpy(torch.cat(pieces, 1)), log_linear(*map(numpy, arrays))), support.TOLERANCE
        )

    def test_packed(self):
        arrays = [x[:1] for x in self.arrays()]
        o, state = self.called(arrays, cu_seqlens=torch.tensor(CU_SEQLENS), output_final_state=True)
        expected = [log_linear(*(numpy(x[:, b:e]) for x in arrays)) for b, e in ((0, 33), (33, T))]
        self.assertLess(error(numpy(o), np.concatenate(expected, 1)), support.TOLERANCE)
        self.assertEqual(state.offsets.tolist(), [33, 0, T - 33])

    def test_no_level_to_spare(self):
        arrays = [x[:, :64] for x in self.arrays()]
        arrays[4] = arrays[4][..., :7]
        o, _ = self.called(arrays, output_final_state=True)
        self.assertLess(error(numpy(o), log_linear(*map(numpy, arrays))), support.TOLERANCE)


# The arguments of FLA 0.5.2's functions, in order, with their defaults.
STATES = "initial_state=None output_final_state=False"
SIGNATURES = {
    "chunk_simple_gla": f"q k v g=None g_gamma=None scale=None {STATES} state_v_first=False"
    " cu_seqlens=None cu_seqlens_cpu=None **kwargs",
    "fused_recurrent_simple_gla": f"q k v g=None g_gamma=None scale=None {STATES} reverse=False"
    " state_v_first=False cu_seqlens=None **kwargs",
    "chunk_retention": f"q k v scale=None {STATES} cu_seqlens=None **kwargs",
    "fused_recurrent_retention": f"q k v scale=None {STATES} reverse=False state_v_first=False"
    " cu_seqlens=None **kwargs",
    "chunk_lightning_attn": f"q k v layer_idx num_layers scale=None {STATES} cu_seqlens=None"
    " **kwargs",
    "fused_recurrent_lightning_attn": f"q k v layer_idx num_layers scale=None {STATES}"
    " reverse=False cu_seqlens=None **kwargs",
    "chunk_linear_attn": f"q k v scale=None {STATES} normalize=True cu_seqlens=None",
    "fused_recurrent_linear_attn": f"q k v scale=None {STATES} reverse=False normalize=False"
    " cu_seqlens=None",
    "chunk_gla": f"q k v g scale=None {STATES} state_v_first=False cu_seqlens=None"
    " cu_seqlens_cpu=None",
    "fused_recurrent_gla": f"q k v gk=None gv=None scale=None {STATES} reverse=False"
    " state_v_first=False cu_seqlens=None **kwargs",
    "chunk_delta_rule": f"q k v beta scale=None {STATES} use_qk_l2norm_in_kernel=False"
    " cu_seqlens=None cu_seqlens_cpu=None **kwargs",
    "fused_recurrent_delta_rule": f"q k v beta=None scale=None {STATES}"
    " use_qk_l2norm_in_kernel=False cu_seqlens=None",
    "chunk_gated_delta_rule": f"q k v g beta scale=None {STATES} use_qk_l2norm_in_kernel=False"
    " use_beta_sigmoid_in_kernel=False allow_neg_eigval=False state_v_first=False cu_seqlens=None"
    " cu_seqlens_cpu=None cp_context=None **kwargs",
    "fused_recurrent_gated_delta_rule": "q k v g=None gk=None gv=None beta=None scale=None"
    f" {STATES} use_qk_l2norm_in_kernel=False use_gate_in_kernel=False A_log=None dt_bias=None"
    " use_beta_sigmoid_in_kernel=False allow_neg_eigval=False state_v_first=False cu_seqlens=None"
    " **kwargs",
    "chunk_kda": f"q k v g beta scale=None {STATES} use_qk_l2norm_in_kernel=False"
    " use_gate_in_kernel=False use_beta_sigmoid_in_kernel=False allow_neg_eigval=False"
    " safe_gate=False lower_bound=None disable_recompute=False return_intermediate_states=False"
    " state_v_first=False cu_seqlens=None cu_seqlens_cpu=None cp_context=None **kwargs",
    "fused_recurrent_kda": f"q k v g beta A_log=None dt_bias=None scale=None {STATES}"
    " use_qk_l2norm_in_kernel=False use_gate_in_kernel=False use_beta_sigmoid_in_kernel=False"
    " allow_neg_eigval=False lower_bound=None state_v_first=False cu_seqlens=None **kwargs",
    "chunk_log_linear_attn": f"q k v g level_scales {STATES} cu_seqlens=None",
}


class Signatures(unittest.TestCase):
    def test_are_flas(self):
        aliases = {"chunk_gdn", "fused_recurrent_gdn"}
        self.assertEqual(set(ops.__all__) - aliases, set(SIGNATURES))
        for name, arguments in SIGNATURES.items():
            own = str(inspect.signature(getattr(ops, name)))
            self.assertEqual(own, f"({', '.join(arguments.split())})")


class Refusals(unittest.TestCase):
    """What is not served says so by its name."""

    def refused(self, kind, words, function, *positional, **keywords):
        with self.assertRaises(kind) as caught, torch.no_grad():
            getattr(ops, function)(*positional, **keywords)
        for word in words.split():
            self.assertIn(word, str(caught.exception))

    def test_by_name(self):
        a = world()
        q, k, v, g, beta = (a[n] for n in ("q", "k", "v", "g", "beta"))
        no = NotImplementedError
        self.refused(no, "reverse", "fused_recurrent_simple_gla", q, k, v, g, reverse=True)
        self.refused(
            no, "cp_context", "chunk_gated_delta_rule", q, k, v, g, beta, cp_context=object()
        )
        self.refused(
            no,
            "return_intermediate_states",
            "chunk_kda",
            q,
            k,
            v,
            a["gk"],
            beta,
            return_intermediate_states=True,
        )
        self.refused(no, "beta channel", "chunk_delta_rule", q, k, v, a["gv"])
        self.refused(
            no,
            "gv cu_seqlens",
            "fused_recurrent_gla",
            q[:1],
            k[:1],
            v[:1],
            gv=a["gv"][:1],
            cu_seqlens=torch.tensor([0, T]),
        )
        self.refused(ValueError, "head_first", "chunk_simple_gla", q, k, v, g, head_first=False)
        self.refused(ValueError, "g_gamma", "chunk_simple_gla", q, k, v, g, g_gamma=g[0, 0])
        self.refused(
            ValueError,
            "allow_neg_eigval",
            "chunk_kda",
            q,
            k,
            v,
            a["gk"],
            beta,
            allow_neg_eigval=True,
        )
        self.refused(
            ValueError,
            "lower_bound",
            "chunk_kda",
            q,
            k,
            v,
            a["gk"],
            beta,
            safe_gate=True,
            use_gate_in_kernel=True,
        )
        self.refused(
            ValueError, "A_log", "chunk_gated_delta_rule", q, k, v, g, beta, use_gate_in_kernel=True
        )
        self.refused(ValueError, "chunk_size", "chunk_simple_gla", q, k, v, g, chunk_size=48)
        self.refused(ValueError, "shape", "chunk_gla", q, k, v, g)
        self.refused(ValueError, "scale inf", "chunk_simple_gla", q, k, v, g, scale=float("inf"))
        self.refused(
            TypeError, "scale Tensor", "chunk_simple_gla", q, k, v, g, scale=torch.tensor(1.0)
        )
        self.refused(
            TypeError,
            "initial_state bfloat16",
            "chunk_gla",
            q,
            k,
            v,
            a["gk"],
            initial_state=a["h0"].bfloat16(),
        )
        self.refused(TypeError, "colour", "chunk_simple_gla", q, k, v, g, colour=1)
        self.refused(
            ValueError,
            "initial_state Tensor",
            "chunk_log_linear_attn",
            q,
            k,
            v,
            g,
            torch.rand(B, T, H, 8),
            initial_state=a["h0"],
        )


if __name__ == "__main__":
    support.main()
