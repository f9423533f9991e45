# SPDX-License-Identifier: MIT
"""torch_ops: what PyTorch expects of an operator, and what is wrong with a call, on the CPU device.

The "meta" device stands in for a second one.
"""

import threading
import unittest

import support

support.need("numpy", "torch")

import numpy as np
import torch
from reference import error, recurrence

import maskc
from maskc import ops, torch_ops

B, T, H, K, V = 2, 37, 2, 16, 32
SPEC = "simple_gla"


def world(heads=H):
    torch.manual_seed(1)
    return {
        "q": torch.randn(B, T, heads, K).bfloat16(),
        "k": torch.randn(B, T, heads, K).bfloat16(),
        "v": torch.randn(B, T, heads, V).bfloat16(),
        "g": -torch.rand(B, T, heads),
    }


def numpy(x):
    return x.detach().double().numpy()


def expected(a):
    return recurrence(numpy(a["q"]), numpy(a["k"]), numpy(a["v"]), [numpy(a["g"])])


class Calls(unittest.TestCase):
    def test_forward(self):
        a = world()
        o, ht = maskc.op(SPEC)(**a, final_state=True)
        self.assertEqual((o.dtype, ht.dtype), (torch.bfloat16, torch.float32))
        self.assertLess(error(numpy(o), expected(a)[0]), support.TOLERANCE)
        self.assertLess(error(numpy(ht), expected(a)[1]), support.STATE_TOLERANCE)

    def test_layouts_without_copies(self):
        a, f = world(), maskc.op(SPEC)
        for x in ("q", "k", "v"):
            a[x] = a[x].transpose(1, 2).contiguous().transpose(1, 2)
        fused = torch.cat([a["q"], a["k"]], -1)
        same = {n: x.contiguous() for n, x in a.items()}
        self.assertTrue(torch.equal(f(**a), f(**same)))
        a.update(q=fused[..., :K], k=fused[..., K:], g=a["g"][:, :, :1].expand(B, T, H))
        same.update(g=a["g"].contiguous())
        self.assertTrue(torch.equal(f(**a), f(**same)))

    def test_less_alignment(self):
        a, f = world(), maskc.op(SPEC)
        wide = torch.zeros(B, T, H, K + 1, dtype=torch.bfloat16)
        wide[..., 1:] = a["q"]
        self.assertTrue(torch.equal(f(**{**a, "q": wide[..., 1:]}), f(**a)))
        long = torch.zeros(
            B * T * H * K + 1, dtype=torch.bfloat16
        )  # strides as before, another address
        shifted = long[1:].view(B, T, H, K).copy_(a["q"])
        self.assertTrue(torch.equal(f(**{**a, "q": shifted}), f(**a)))

    def test_alignment_of_another_array(self):
        """The same address bits in all, but of other arrays: q off by 4 bytes, or the gate."""
        a, f = world(), maskc.op(SPEC)
        right = f(**a)

        def moved(x, elements):
            long = torch.zeros(x.numel() + elements, dtype=x.dtype)
            return long[elements:].view(x.shape).copy_(x)

        self.assertTrue(torch.equal(f(**{**a, "g": moved(a["g"], 1)}), right))
        self.assertTrue(torch.equal(f(**{**a, "q": moved(a["q"], 2)}), right))
        self.assertTrue(torch.equal(f(**a, h0=moved(torch.zeros(B, H, K, V), 1)), right))

    def test_grouped_heads(self):
        a, few = world(4), world(1)
        o = maskc.op(SPEC)(q=a["q"], k=few["k"], v=a["v"], g=a["g"])
        self.assertLess(error(numpy(o), expected({**a, "k": few["k"]})[0]), support.TOLERANCE)

    def test_step_with_a_pool(self):
        a = world()
        state, states = torch.zeros(5, H, K, V), torch.empty(B, T, H, K, V)
        slots = torch.tensor([4, 0], dtype=torch.int32)
        o = maskc.op(SPEC, step=True)(**a, state=state, state_index=slots, states=states)
        self.assertLess(error(numpy(o), expected(a)[0]), support.TOLERANCE)
        self.assertLess(error(numpy(state[[4, 0]]), expected(a)[1]), 1e-5)
        self.assertTrue(torch.equal(states[:, -1], state[[4, 0]]))
        self.assertEqual(state[1:4].abs().max(), 0)

    def test_dlpack(self):
        class Foreign:
            def __init__(self, x):
                self.__dlpack__, self.__dlpack_device__ = x.__dlpack__, x.__dlpack_device__

        a, f = world(), maskc.op(SPEC)
        o = f(**{**a, "q": Foreign(a["q"]), "k": Foreign(a["k"])})
        self.assertTrue(torch.equal(o, f(**a)))
        g = np.asarray(a["g"])
        self.assertTrue(torch.equal(f(**{**a, "g": g}), f(**a)))

    def test_threads(self):
        a, f = world(), maskc.op(SPEC)
        right, wrong = f(**a), []

        def work():
            for _ in range(5):
                if not torch.equal(f(**a), right):
                    wrong.append(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertFalse(wrong)

    def test_plans_are_bounded(self):
        a, f = world(), maskc.op("retnet")
        kept, torch_ops.MAX_PLANS = torch_ops.MAX_PLANS, 2
        self.addCleanup(setattr, torch_ops, "MAX_PLANS", kept)
        for t in range(1, 6):
            f(**{n: a[n][:, :t] for n in "qkv"})
        self.assertLessEqual(len(f.plans), 2)


class Operators(unittest.TestCase):
    def test_as_torch_checks_them(self):
        a = world()
        arrays = list(a.values())
        tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
        forward = (SPEC, "q k v g", arrays)
        torch.library.opcheck(torch.ops.maskc.forward.default, forward, test_utils=tests)
        torch.library.opcheck(torch.ops.maskc.forward_state.default, forward, test_utils=tests)
        step = (*forward, torch.zeros(B, H, K, V))
        torch.library.opcheck(torch.ops.maskc.step.default, step, test_utils=tests)

    def test_compile(self):
        a = world()

        def model(q, k, v, g, beta):
            o, ht = ops.chunk_simple_gla(q, k, v, g, output_final_state=True)
            o = o + ops.chunk_lightning_attn(q, k, v, 1, 4)[0]
            return o + ops.fused_recurrent_delta_rule(q, k, v, beta, initial_state=ht)[0]

        arguments = (*a.values(), torch.rand(B, T, H))
        with torch.no_grad():
            compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
            self.assertTrue(torch.equal(compiled(*arguments), model(*arguments)))

    def test_compile_with_a_gradient(self):
        a = world()
        a["v"].requires_grad_(True)
        compiled = torch.compile(lambda **x: ops.chunk_simple_gla(**x)[0] * 2, backend="aot_eager")
        with self.assertRaisesRegex(NotImplementedError, "no gradient of chunk_simple_gla"):
            compiled(**a).sum().backward()

    def test_fake_tensors(self):
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode() as mode:
            a = {n: mode.from_tensor(x) for n, x in world().items()}
            o, ht = maskc.op(SPEC)(**a, final_state=True)
        self.assertEqual((o.shape, o.dtype), ((B, T, H, V), torch.bfloat16))
        self.assertEqual((ht.shape, ht.dtype), ((B, H, K, V), torch.float32))


class Gradients(unittest.TestCase):
    """They come later. A forward pass works, a backward pass says so."""

    def test_asking(self):
        a = world()
        for call in (
            lambda: ops.chunk_simple_gla(**a)[0],
            lambda: ops.chunk_simple_gla(**a, output_final_state=True)[1],
            lambda: ops.fused_recurrent_simple_gla(**a)[0],
            lambda: maskc.op(SPEC)(**a),
        ):
            a["v"].requires_grad_(False)
            self.assertFalse(call().requires_grad)
            a["v"].requires_grad_(True)
            with self.assertRaisesRegex(
                NotImplementedError, "no gradient of .*simple_gla yet.*no_grad"
            ):
                call().sum().backward()
            with torch.no_grad():
                self.assertFalse(call().requires_grad)

    def test_of_an_initial_state(self):
        h0 = torch.zeros(B, H, K, V, requires_grad=True)
        for function in (ops.chunk_simple_gla, ops.fused_recurrent_simple_gla):
            with self.assertRaises(NotImplementedError):
                function(**world(), initial_state=h0)[0].sum().backward()


class Wrong(unittest.TestCase):
    def refused(self, kind, words, **changed):
        with self.assertRaisesRegex(kind, words):
            maskc.op(SPEC)(**{**world(), **changed})

    def test_types(self):
        a = world()
        self.refused(TypeError, "q is torch.float64", q=a["q"].double())
        self.refused(ValueError, "k is f16; it takes bf16", k=a["k"].half())
        self.refused(ValueError, "g is bf16; it takes f32", g=a["g"].bfloat16())
        self.refused(TypeError, "g is torch.bool", g=a["g"] > 0)

    def test_strides_and_shapes(self):
        a = world()
        transposed = torch.zeros(B, H, K, T).bfloat16().permute(0, 3, 1, 2)
        self.refused(ValueError, f"the stride of dk in q is {T}; it must be 1", q=transposed)
        self.refused(ValueError, "B is 1 in v, but 2 in q", v=a["v"][:1])
        self.refused(ValueError, "q has 3 dimensions; it takes q .B, T, H, dk.", q=a["q"][0])
        self.refused(ValueError, "h0", h0=torch.zeros(B, H, V, K))

    def test_devices(self):
        a = world()
        self.refused(ValueError, "k is on meta, and q on cpu", k=a["k"].to("meta"))
        self.refused(
            ValueError,
            "cu_seqlens is on meta, and q on cpu",
            cu_seqlens=torch.tensor([0, T], device="meta"),
        )
        meta = {n: x.to("meta") for n, x in a.items()}
        self.assertEqual(maskc.op(SPEC)(**meta).device.type, "meta")

    def test_packed_batches(self):
        one = {n: x[:1] for n, x in world().items()}
        self.refused(ValueError, "cu_seqlens is f32", **one, cu_seqlens=torch.zeros(2))
        self.refused(
            ValueError, "with cu_seqlens the sequences are packed", cu_seqlens=torch.tensor([0, T])
        )
        self.refused(
            ValueError, "cu_seqlens has 2 dimensions", **one, cu_seqlens=torch.tensor([[0, T]])
        )
        self.refused(
            ValueError,
            "B is 1 in h0, but 2 in cu_seqlens",
            **one,
            h0=torch.zeros(1, H, K, V),
            cu_seqlens=torch.tensor([0, 3, T]),
        )

    def test_steps(self):
        a, step = world(), maskc.op(SPEC, step=True)
        with self.assertRaisesRegex(ValueError, "a step takes state"):
            step(**a)
        with self.assertRaisesRegex(ValueError, "state is bf16; it takes f32"):
            step(**a, state=torch.zeros(B, H, K, V).bfloat16())
        with self.assertRaisesRegex(ValueError, "state_index is i64; it takes i32"):
            step(**a, state=torch.zeros(B, H, K, V), state_index=torch.tensor([0, 1]))


if __name__ == "__main__":
    support.main()
