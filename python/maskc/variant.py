# SPDX-License-Identifier: MIT
"""maskc.op: a spec as a Python function of arrays.

    f = maskc.op("simple_gla")
    o = f(q=q, k=k, v=v, g=g)                           # arrays by the spec's names
    o, ht = f(q=q, k=k, v=v, g=g, h0=h0, final_state=True)

    step = maskc.op("simple_gla", step=True)
    o = step(q=q, k=k, v=v, g=g, state=state)           # state is updated in place

A Variant learns dk, dv, type and device from the arrays, and keeps an Op for each that it has met.
Arrays are NumPy's, or anything with __dlpack__, or PyTorch's; the outputs are of the same kind.
"""

import functools
import threading

from .arrays import BYTES, describe, is_torch
from .errors import ArgumentError, NotServedError
from .op import AXIS_NAMES, Op, is_file, read_file

ALIGNMENTS = (16, 8, 4, 2)
PROBE_CHANNELS = 64  # where no array is called k or v, to ask the op what its arrays are


def _is_tile(arg):
    """Whether it is read in pieces of `align` bytes: over channels, but for h0 and ht."""
    return arg.axes[-1:] in ("k", "v") and arg.name not in ("h0", "ht")


def _rows_alignment(dtype, dk, dv):
    """What an Op of align = 0 asks for: as much as rows of dk and dv channels have."""
    return next(a for a in ALIGNMENTS if dk * BYTES[dtype] % a == dv * BYTES[dtype] % a == 0)


def _alignment(args, arrays):
    """What the arrays over channels have: addresses, and strides that are stepped along."""
    bits = ALIGNMENTS[0]
    for arg in args:
        array = arrays.get(arg.name)
        if array is None or not _is_tile(arg):
            continue
        bits |= array.data
        for n, stride in list(zip(array.shape, array.stride))[:-1]:
            if n > 1:
                bits |= stride * BYTES[array.dtype]
    return max(bits & -bits, ALIGNMENTS[-1])


def _numpy_dtype(arrays, dtype):
    """That of the inputs: bf16 has more than one."""
    for array in arrays:
        if array.dtype == dtype and type(array.keep).__module__ == "numpy":
            return array.keep.dtype
    return {"bf16": "uint16", "f16": "float16", "f32": "float32"}[dtype]


@functools.cache
def _torch_ops():
    """The module that needs PyTorch, when the first call does."""
    from . import torch_ops

    return torch_ops


class Variant:
    """One spec and pass at every size. Made by maskc.op(), which gives equal ones once."""

    def __init__(self, spec, step, settings):
        self.spec, self.step, self.settings_text = spec, step, settings
        self.settings = {name: int(n) for name, n in (word.split("=") for word in settings.split())}
        self.plans = {}  # of torch_ops, by the arrays' layout
        self._ops = {}
        self._args = None
        self._lock = threading.Lock()

    # ---- arrays and sizes ----

    def args(self, dtype="bf16", shapes=None):
        """The arrays, by name: those of an Op that is made for a guess at dk and dv."""
        if self._args is None:
            shapes = shapes or {}
            dk = next((int(shapes[n][-1]) for n in ("k", "q") if n in shapes), PROBE_CHANNELS)
            dv = int(shapes["v"][-1]) if "v" in shapes else PROBE_CHANNELS
            op = Op(
                self.spec,
                dk=dk,
                dv=dv,
                dtype=dtype,
                step=self.step,
                arch="sm_80",
                settings=self.settings,
            )
            self._args = {arg.name: arg for arg in op.args}
        return self._args

    def _taken(self):
        """The arrays of a call, as text."""
        taken = [a for a in self._args.values() if not a.output or a.in_place or a.name == "states"]
        return ", ".join(f"{a} (optional)" if a.optional else str(a) for a in taken)

    def dimensions(self, shapes, dtype="bf16"):
        """{axis: n} of shapes by name. H is the largest number of heads; N the number of states."""
        args = self.args(dtype, shapes)
        ret = {}
        for name, shape in shapes.items():
            if name not in args:
                raise ArgumentError(f"there is no array {name}; this op takes {self._taken()}")
            arg = args[name]
            if len(shape) != len(arg.axes):
                raise ArgumentError(f"{name} has {len(shape)} dimensions; it takes {arg}")
            for axis, n in zip(arg.axes, shape):
                if axis == "B" and "T" not in arg.axes:
                    continue  # of sequences: not B, where they are packed
                ret[axis] = max(n, ret.get(axis, 0)) if axis == "H" else ret.get(axis, n)
        missing = [
            a.name
            for a in args.values()
            if a.name not in shapes and not a.optional and (a.in_place or not a.output)
        ]
        if missing:
            raise ArgumentError(f"{', '.join(missing)} missing; this op takes {self._taken()}")
        for axis in "BTH":
            if axis not in ret:
                raise ArgumentError(f"no array says what {AXIS_NAMES.get(axis, axis)} is")
        return ret

    def o_shape(self, d):
        return (d["B"], d["T"], d["H"], d.get("v", 1))

    def ht_shape(self, d):
        """[N,H,dk,dv], or with slots for the levels of a mask, [N,levels - 1,H,dk,dv]."""
        if "ht" not in self._args:
            raise NotServedError("this op has no final state: it is a step")
        if "nt" in self._args:
            raise NotServedError(
                "the final state of a normaliser's op is two arrays, which final_state does not "
                "return yet: launch a maskc.Op with ht and nt"
            )
        sequences = d["C"] - 1 if "C" in d else d["B"]
        slots = (d["L"] - 1,) if "S" in self._args["ht"].axes else ()
        return (sequences, *slots, d["H"], d.get("k", 1), d.get("v", 1))

    def dtype_of(self, dtypes, shapes):
        """The op's type: that of an array that has it. dtypes and shapes: by name."""
        for name in ("q", "k", "v"):
            if name in dtypes:
                return dtypes[name]
        args = self.args("bf16", shapes)
        for name, dtype in dtypes.items():
            if name in args and args[name].dtype == "bf16":
                return dtype
        raise ArgumentError("no array says what the op's type is")

    # ---- ops ----

    def op(self, dtype, dk, dv, device, align=0):
        """The Op of this size, prepared. The first time for a size is slow."""
        key = dtype, dk, dv, device, align
        ret = self._ops.get(key)
        if ret is None:
            ret = Op(
                self.spec,
                dk=dk,
                dv=dv,
                dtype=dtype,
                device=device,
                step=self.step,
                align=align,
                settings=self.settings,
            ).prepare()
            with self._lock:
                ret = self._ops.setdefault(key, ret)
        return ret

    def op_for(self, arrays, d, dtype, device):
        """The Op for described arrays, made for less alignment where they have less."""
        dk, dv = d.get("k", 1), d.get("v", 1)
        align = _alignment(self._args.values(), arrays)
        usual = align >= _rows_alignment(dtype, dk, dv)
        return self.op(dtype, dk, dv, device, 0 if usual else align)

    # ---- calls ----

    def __call__(self, *, final_state=False, **arrays):
        arrays = {n: x for n, x in arrays.items() if x is not None}
        for x in arrays.values():
            if is_torch(x):
                return _torch_ops().call(self, arrays, final_state)
        given = {n: describe(x, n) for n, x in arrays.items()}
        if any(a.device != "cpu" for a in given.values()):  # PyTorch allocates on a GPU
            return _torch_ops().call(self, arrays, final_state)
        return self._call_numpy(given, final_state)

    def _call_numpy(self, given, final_state):
        import numpy

        shapes = {n: a.shape for n, a in given.items()}
        dtype = self.dtype_of({n: a.dtype for n, a in given.items()}, shapes)
        d = self.dimensions(shapes, dtype)
        o = numpy.empty(self.o_shape(d), _numpy_dtype(given.values(), dtype))
        ret = o
        outputs = {"o": describe(o)}
        if final_state:
            ht = numpy.empty(self.ht_shape(d), "float32")
            outputs["ht"] = describe(ht)
            ret = o, ht
        arrays = {**given, **outputs}
        self.op_for(arrays, d, dtype, "cpu").launch(arrays)
        return ret


@functools.cache
def variant_of(spec, step=False, settings=""):
    """The Variant; equal ones are one. settings: as text, "sinks=4 window=64"."""
    return Variant(spec, step, settings)


def op(spec, *, step=False, **settings):
    """A spec as a function of arrays by name. See the top of this file.

    spec: the name of a shipped spec, a file's path (with a / or ending in .lua), or a spec's text.
    step: the decode step, which updates `state` in place, and not the forward pass.
    settings: values of the spec's options, window=64.
    """
    text = " ".join(f"{name}={int(n)}" for name, n in sorted(settings.items()))
    return variant_of(read_file(spec) if is_file(spec) else spec, step, text)
