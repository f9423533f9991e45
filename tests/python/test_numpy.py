# SPDX-License-Identifier: MIT
"""Op and maskc.op on NumPy arrays: results on the CPU device, and what is wrong with a call."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import support

support.need("numpy")

import numpy as np
from reference import error, recurrence

import maskc
from maskc.arrays import describe

B, T, H, K, V = 2, 37, 2, 16, 32


def bf16(x):
    """The bits of x, cut to bf16."""
    return (np.asarray(x, "float32").view("uint32") >> 16).astype("uint16")


def value(bits):
    return (bits.astype("uint32") << 16).view("float32")


def world():
    random = np.random.default_rng(1)
    return {
        "q": bf16(random.standard_normal((B, T, H, K))),
        "k": bf16(random.standard_normal((B, T, H, K))),
        "v": bf16(random.standard_normal((B, T, H, V))),
        "g": -random.random((B, T, H), "float32"),
    }


def expected(a, h0=None):
    return recurrence(value(a["q"]), value(a["k"]), value(a["v"]), [a["g"]], h0=h0)


class DLPack:
    """Another library's array: all that is known of it is __dlpack__."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self):
        return self.x.__dlpack__()

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


class Calls(unittest.TestCase):
    def test_forward(self):
        a, h0 = world(), np.random.default_rng(2).standard_normal((B, H, K, V), "float32")
        o, ht = maskc.op("simple_gla")(**a, h0=h0, final_state=True)
        self.assertEqual((o.dtype, ht.dtype), (np.uint16, np.float32))
        self.assertLess(error(value(o), expected(a, h0)[0]), support.TOLERANCE)
        self.assertLess(error(ht, expected(a, h0)[1]), support.STATE_TOLERANCE)

    def test_a_spec_of_ones_own(self):
        f = maskc.op(
            'return variant { name = "mine", transition = { decay(exp(input { "g", max = 0 })) } }'
        )
        a = world()
        o = f(**a)
        self.assertLess(error(value(o), K**0.5 * expected(a)[0]), support.TOLERANCE)

    def test_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "mine.lua")
            text = 'return variant { name = "mine", scale = SCALE }'
            a = {n: x for n, x in world().items() if n != "g"}
            path.write_text(text.replace("SCALE", "1"))
            one = maskc.op(str(path))(**a)
            path.write_text(text.replace("SCALE", "2"))
            self.assertTrue(np.array_equal(value(maskc.op(str(path))(**a)), 2 * value(one)))
            path.write_text(text)
            with self.assertRaisesRegex(maskc.SpecError, "mine.lua:1:41: error"):
                maskc.op(str(path))(**a)
        with self.assertRaisesRegex(maskc.SpecError, "none.lua"):
            maskc.op("none.lua")

    def test_packed(self):
        a, h0 = world(), np.random.default_rng(2).standard_normal((3, H, K, V), "float32")
        one = {n: x[:1] for n, x in a.items()}
        lengths = np.array([0, 5, 5, T], "int32")
        o, ht = maskc.op("simple_gla")(h0=h0, cu_seqlens=lengths, **one, final_state=True)
        self.assertEqual((o.shape, ht.shape), ((1, T, H, V), (3, H, K, V)))
        self.assertTrue(np.array_equal(ht[1], h0[1]))
        first = {n: x[:, :5] for n, x in one.items()}
        self.assertLess(error(ht[:1], expected(first, h0[:1])[1]), support.STATE_TOLERANCE)

    def test_fp16(self):
        a = world()
        halves = {n: x if n == "g" else value(x).astype("float16") for n, x in a.items()}
        o = maskc.op("simple_gla")(**halves)
        self.assertEqual(o.dtype, np.float16)
        self.assertLess(error(o, expected(a)[0]), support.TOLERANCE)

    def test_step(self):
        a, state = world(), np.zeros((B, H, K, V), "float32")
        step = maskc.op("simple_gla", step=True)
        o = [step(**{n: x[:, t : t + 1] for n, x in a.items()}, state=state) for t in range(T)]
        self.assertLess(error(value(np.concatenate(o, 1)), expected(a)[0]), support.TOLERANCE)
        self.assertLess(error(state, expected(a)[1]), 1e-5)

    def test_strides(self):
        a = world()
        flipped = {n: np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for n, x in a.items()}
        packed = np.concatenate([a["q"], a["k"]], -1)
        flipped.update(q=packed[..., :K], k=packed[..., K:])
        f = maskc.op("simple_gla")
        self.assertTrue(np.array_equal(f(**flipped), f(**a)))

    def test_less_alignment(self):
        a = world()
        wide = np.zeros((B, T, H, K + 1), "uint16")
        wide[..., 1:] = a["q"]
        f = maskc.op("simple_gla")
        self.assertTrue(np.array_equal(f(**{**a, "q": wide[..., 1:]}), f(**a)))

    def test_dlpack(self):
        halves = {n: x if n == "g" else value(x).astype("float16") for n, x in world().items()}
        f = maskc.op("simple_gla")
        o = f(**{n: DLPack(x) for n, x in halves.items()})
        self.assertEqual(o.dtype, np.float16)
        self.assertTrue(np.array_equal(o, f(**halves)))
        array = describe(DLPack(halves["q"][:, ::2]))
        self.assertEqual(
            (array.shape, array.stride), ((B, (T + 1) // 2, H, K), (T * H * K, 2 * H * K, K, 1))
        )

    def test_op(self):
        a = world()
        op = maskc.Op("simple_gla", dk=K, dv=V, chunk=16)
        o = np.zeros((B, T, H, V), "uint16")
        with self.assertRaises(maskc.UsageError):
            op.launch({**a, "o": o})
        op.prepare().launch({**a, "o": o, "h0": None})
        self.assertLess(error(value(o), expected(a)[0]), support.TOLERANCE)


class Wrong(unittest.TestCase):
    def refused(self, kind, word, **changed):
        with self.assertRaisesRegex(kind, word):
            maskc.op("simple_gla")(**{**world(), **changed})

    def test_arrays(self):
        a = world()
        self.refused(TypeError, "q is of type float64", q=value(a["q"]).astype("float64"))
        self.refused(TypeError, "q is list", q=[1.0])
        self.refused(ValueError, "k is f32; it takes bf16", k=value(a["k"]))
        self.refused(ValueError, "g is bf16; it takes f32", g=bf16(a["g"]))
        self.refused(ValueError, "the stride of dk in q is -1", q=a["q"][..., ::-1])
        self.refused(ValueError, "B is 1 in v, but 2 in q", v=a["v"][:1])
        self.refused(ValueError, "v has 3 dimensions", v=a["v"][0])
        self.refused(ValueError, "there is no array beta; this op takes q", beta=a["g"])
        self.refused(ValueError, "g missing", g=None)
        self.refused(ValueError, "cu_seqlens is f32", cu_seqlens=np.zeros(3, "float32"))
        self.refused(ValueError, "B is 2 in q; with cu_seqlens", cu_seqlens=np.array([0, T]))
        self.refused(ValueError, "foreign byte order", g=a["g"].astype(">f4"))
        self.refused(
            ValueError,
            "at no multiple",
            q=np.lib.stride_tricks.as_strided(a["q"], strides=(3, 3, 3, 2)),
        )

    def test_outputs(self):
        op = maskc.Op("simple_gla", dk=K, dv=V).prepare()
        o = np.zeros((B, T, H, V), "uint16")
        o.flags.writeable = False
        with self.assertRaisesRegex(ValueError, "o is read-only"):
            op.launch({**world(), "o": o})
        with self.assertRaisesRegex(ValueError, "there is no array out"):
            op.launch({**world(), "out": o})

    def test_no_state_to_return(self):
        a = world()
        with self.assertRaisesRegex(NotImplementedError, "final state"):
            maskc.op("linear_attention_elu")(q=a["q"], k=a["k"], v=a["v"], final_state=True)
        with self.assertRaisesRegex(ValueError, "state missing"):
            maskc.op("simple_gla", step=True)(**a)


class Packs(unittest.TestCase):
    def test_an_op_from_a_pack(self):
        program = os.environ.get("MASKC")
        if not program:
            self.skipTest("no MASKC, the program")
        with tempfile.TemporaryDirectory() as folder:
            spec, pack = os.path.join(folder, "s.lua"), os.path.join(folder, "s.mkp")
            with open(spec, "w") as f:
                f.write('return variant { name = "only_in_a_pack", scale = 0.25 }')
            command = [program, "build", spec, "--emit=pack", "--arch=cpu", f"--dk={K}", f"--dv={V}"]
            subprocess.run([*command, "-o", pack], check=True, capture_output=True)
            with self.assertRaisesRegex(maskc.MaskcError, "only_in_a_pack"):
                maskc.Op("only_in_a_pack", dk=K, dv=V)
            maskc.add_pack(pack)
            self.assertIn("only_in_a_pack", maskc.Op("only_in_a_pack", dk=K, dv=V).source)

    def test_no_pack(self):
        with self.assertRaisesRegex(maskc.MaskcError, "/no.mkp"):
            maskc.add_pack("/no.mkp")


if __name__ == "__main__":
    support.main()
