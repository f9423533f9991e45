# SPDX-License-Identifier: MIT
"""PyTorch: specs as operators that torch.compile, CUDA graphs and streams know.

    maskc::forward(spec, names, arrays, settings) -> o
    maskc::forward_state(spec, names, arrays, settings) -> (o, ht)
    maskc::step(spec, names, arrays, state!, states!, settings) -> o

spec is a name or a text; names are the arrays' names with blanks between. A call launches on the
current stream of the arrays' device, takes arrays as they lie, whatever their strides, and has
PyTorch allocate the outputs.

What takes time is done once for each layout of arrays (shapes, strides, types) and kept: a _Plan
knows the outputs, and its _Launcher an argument table that is filled but for the addresses. A call
then looks the plan up, allocates, writes the addresses and launches.
"""

import ctypes

import torch

from . import _lib
from .arrays import Array, contiguous, is_torch
from .errors import ArgumentError, NotServedError
from .op import fill, is_text
from .variant import variant_of

E_USAGE = 2001
MAX_PLANS = 256  # of one variant; then it begins anew
_DTYPES = {
    torch.float32: "f32",
    torch.bfloat16: "bf16",
    torch.float16: "f16",
    torch.int32: "i32",
    torch.int64: "i64",
}
_TORCH_DTYPES = {name: dtype for dtype, name in _DTYPES.items()}


def _raw_stream(index):
    return torch.cuda.current_stream(index).cuda_stream


if hasattr(torch._C, "_cuda_getCurrentRawStream"):
    _raw_stream = torch._C._cuda_getCurrentRawStream  # the same, some microseconds faster


# ---- what a call is about: types, device, sizes ----


def _dtype(name, tensor):
    try:
        return _DTYPES[tensor.dtype]
    except KeyError:
        raise TypeError(
            f"{name} is {tensor.dtype}; maskc takes float32, bfloat16 and float16"
        ) from None


def _common_device(named):
    """The device of all arrays. named: {name: tensor}."""
    (first, device), *rest = ((name, t.device) for name, t in named.items())
    for name, other in rest:
        if other != device:
            raise ArgumentError(f"{name} is on {other}, and {first} on {device}: move one of them")
    return device


def _sizes(variant, named):
    """The op's type, and {axis: n}. Fake tensors are welcome."""
    dtypes = {name: _dtype(name, t) for name, t in named.items()}
    dtype = variant.dtype_of(dtypes, {name: t.shape for name, t in named.items()})
    return dtype, variant.dimensions({name: t.shape for name, t in named.items()}, dtype)


def _layout(shape):
    """Shape and strides, with which PyTorch allocates faster than with the shape alone."""
    return shape, contiguous(shape)


# ---- a call ----


class _Launcher:
    """An Op with argument tables for arrays of one layout.

    One thread at a time uses a table: a call takes one from a list, or makes one, and puts it back.
    """

    def __init__(self, op, arrays):
        self.op, self.arrays = op, arrays  # the handle and the layout live as long as this
        self.handle, self.count = op.handle, len(op.args)
        self.mkc_op_launch = _lib.library().mkc_op_launch
        self.workspace = op.workspace(self._table()[0])
        self.free = []

    def _table(self):
        """A table, its address, and those of its places whose data a call sets, in order."""
        table = self.op.table()
        for name, array in self.arrays.items():
            fill(table[self.op.index[name]], array)
        return table, ctypes.addressof(table), [table[self.op.index[name]] for name in self.arrays]

    def launch(self, addresses, device, stream):
        """A status. addresses: in the order of the arrays."""
        try:
            entry = self.free.pop()
        except IndexError:  # the first call, or other threads have them all
            entry = self._table()
        for place, address in zip(entry[2], addresses):
            place.data = address
        scratch, size = None, self.workspace
        if size:  # PyTorch hands the memory out again only to what follows in the stream
            memory = torch.empty(size, dtype=torch.uint8, device=device)
            scratch = memory.data_ptr()
        status = self.mkc_op_launch(self.handle, entry[1], self.count, scratch, size, stream)
        self.free.append(entry)
        return status


class _Plan:
    """What a variant does with arrays of certain shapes, strides, types, alignment and device."""

    def __init__(self, variant, named, final_state):
        self.variant, self.device = variant, _common_device(named)
        if self.device.type not in ("cpu", "cuda"):
            raise ArgumentError(f"the arrays are on {self.device}; maskc has CUDA and the CPU")
        self.on_gpu = self.device.type == "cuda"
        self.dtype, self.dims = _sizes(variant, named)
        self.o_layout = _layout(variant.o_shape(self.dims))
        self.ht_layout = _layout(variant.ht_shape(self.dims)) if final_state else None
        self.torch_dtype = _TORCH_DTYPES[self.dtype]
        self.launcher = self._launcher([*named, "o", "ht"], [*named.values(), *self.outputs()])

    def outputs(self):
        o = torch.empty_strided(*self.o_layout, dtype=self.torch_dtype, device=self.device)
        if self.ht_layout is None:
            return (o,)
        return o, torch.empty_strided(*self.ht_layout, dtype=torch.float32, device=self.device)

    def _launcher(self, names, tensors):
        arrays = {
            name: Array(t.data_ptr(), _dtype(name, t), tuple(t.shape), t.stride(), "", True, None)
            for name, t in zip(names, tensors)
        }
        device = f"cuda:{self.device.index}" if self.on_gpu else "cpu"
        return _Launcher(self.variant.op_for(arrays, self.dims, self.dtype, device), arrays)

    def launch(self, addresses):
        if not self.on_gpu:
            _lib.check(self.launcher.launch(addresses, self.device, None))
        elif torch.cuda.current_device() == self.device.index:
            self._launch_on_gpu(addresses)
        else:
            with torch.cuda.device(self.device):
                self._launch_on_gpu(addresses)

    def _launch_on_gpu(self, addresses):
        stream = _raw_stream(self.device.index)
        status = self.launcher.launch(addresses, self.device, stream)
        if status == E_USAGE:
            # A thread that has not used CUDA has no current context. Asking a stream makes one.
            torch.cuda.current_stream(self.device).query()
            status = self.launcher.launch(addresses, self.device, stream)
        _lib.check(status)


def _run(variant, names, arrays, final_state):
    """(o,) or (o, ht) of arrays in the order of names."""
    addresses = [t.data_ptr() for t in arrays]
    key = (
        names,
        final_state,
        *[(t.shape, t.stride(), t.dtype, t.device, a % 16) for t, a in zip(arrays, addresses)],
    )
    plan = variant.plans.get(key)
    if plan is None:
        if len(variant.plans) >= MAX_PLANS:
            variant.plans.clear()
        plan = _Plan(variant, dict(zip(names.split(), arrays, strict=True)), final_state)
        variant.plans[key] = plan
    outputs = plan.outputs()
    plan.launch([*addresses, *[t.data_ptr() for t in outputs]])
    return outputs


def _forward(spec, names, arrays, settings=""):
    return _run(variant_of(spec, False, settings), names, arrays, False)[0]


def _forward_state(spec, names, arrays, settings=""):
    return _run(variant_of(spec, False, settings), names, arrays, True)


def _step(spec, names, arrays, state, states=None, settings=""):
    variant = variant_of(spec, True, settings)
    if states is None:
        return _run(variant, names + " state", [*arrays, state], False)[0]
    return _run(variant, names + " state states", [*arrays, state, states], False)[0]


# ---- what torch.compile sees: shapes and types, no memory ----


def _fake(variant, names, arrays):
    named = dict(zip(names.split(), arrays, strict=True))
    _common_device(named)
    dtype, dims = _sizes(variant, named)
    return arrays[0].new_empty(variant.o_shape(dims), dtype=_TORCH_DTYPES[dtype]), dims


def _fake_forward(spec, names, arrays, settings=""):
    return _fake(variant_of(spec, False, settings), names, arrays)[0]


def _fake_forward_state(spec, names, arrays, settings=""):
    variant = variant_of(spec, False, settings)
    o, dims = _fake(variant, names, arrays)
    return o, arrays[0].new_empty(variant.ht_shape(dims), dtype=torch.float32)


def _fake_step(spec, names, arrays, state, states=None, settings=""):
    more = [state] if states is None else [state, states]
    names += " state" if states is None else " state states"
    return _fake(variant_of(spec, True, settings), names, [*arrays, *more])[0]


_library = torch.library.Library("maskc", "DEF")  # lives as long as the module


# Channels have to lie side by side for a compiled model, too.
_AS_THEY_LIE = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)


def _define(name, schema, function, fake):
    _library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag, _AS_THEY_LIE))
    for device in ("CPU", "CUDA"):  # torch.compile has no business in our own Python code
        _library.impl(name, torch.compiler.disable(function), device)
    torch.library.register_fake(f"maskc::{name}", fake, lib=_library)


_ARGUMENTS = "(str spec, str names, Tensor[] arrays, "
_define("forward", _ARGUMENTS + "str settings='') -> Tensor", _forward, _fake_forward)
_define(
    "forward_state",
    _ARGUMENTS + "str settings='') -> (Tensor, Tensor)",
    _forward_state,
    _fake_forward_state,
)
_define(
    "step",
    _ARGUMENTS + "Tensor(a!) state, Tensor(b!)? states=None, str settings='') -> Tensor",
    _step,
    _fake_step,
)


# ---- gradients: refused when they are asked for ----


class _NoGradient(torch.autograd.Function):
    """Hands outputs through. They hang on an input that requires a gradient, so that backward()
    comes here, where it can be said what is missing."""

    @staticmethod
    def forward(ctx, name, anchor, *outputs):
        ctx.name = name
        return tuple(o.view_as(o) for o in outputs)

    @staticmethod
    def backward(ctx, *gradients):
        raise NotServedError(
            f"maskc has no gradient of {ctx.name} yet: the backward pass comes in a later version. "
            "For inference call it under torch.no_grad(); for training use another implementation"
        )


def _refuse_gradient(name, inputs, outputs):
    if not torch.is_grad_enabled():
        return outputs
    for x in inputs:
        if x.requires_grad:
            return _NoGradient.apply(name, x, *outputs)
    return outputs


# ---- what the rest of the package calls ----


def forward(name, spec, names, arrays, final_state=False, settings=()):
    """(o, ht) of a forward pass; ht is None unless asked for. name: of the caller, for messages;
    settings: empty, or a text in a tuple."""
    if not final_state:
        o = torch.ops.maskc.forward.default(spec, names, arrays, *settings)
        return _refuse_gradient(name, arrays, (o,))[0], None
    outputs = torch.ops.maskc.forward_state.default(spec, names, arrays, *settings)
    return _refuse_gradient(name, arrays, outputs)


def step(name, spec, names, arrays, state, states=None, settings=(), initial_state=None):
    """o of a decode step; state and states are written. initial_state: what state is a copy of."""
    if state.requires_grad:
        raise ArgumentError(
            f"{name} updates state in place, and state requires a gradient: detach it"
        )
    o = torch.ops.maskc.step.default(spec, names, arrays, state, states, *settings)
    origin = state if initial_state is None else initial_state
    return _refuse_gradient(name, [*arrays, origin], (o,))[0]


def _tensor(x):
    return x if is_torch(x) else torch.from_dlpack(x)


def call(variant, arrays, final_state):
    """Variant.__call__ for tensors, and for what PyTorch takes by DLPack."""
    named = {name: _tensor(x) for name, x in arrays.items()}
    name = "this spec" if is_text(variant.spec) else variant.spec
    settings = (variant.settings_text,) if variant.settings_text else ()
    if not variant.step:
        o, ht = forward(
            name, variant.spec, " ".join(named), list(named.values()), final_state, settings
        )
        return (o, ht) if final_state else o
    if "state" not in named:
        raise ArgumentError(
            "a step takes state, [N, H, dk, dv] in float32, and updates it in place"
        )
    state, states = named.pop("state"), named.pop("states", None)
    return step(name, variant.spec, " ".join(named), list(named.values()), state, states, settings)
