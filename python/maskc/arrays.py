# SPDX-License-Identifier: MIT
"""Arrays of other libraries as the C API wants them: address, type, shape, strides, device.

describe() takes a numpy.ndarray, a torch.Tensor, or anything with __dlpack__ (JAX, CuPy, ...), and
copies nothing. NumPy has no bfloat16: an array of uint16 is taken for the bits of bf16 numbers, as
is one of the dtype `bfloat16` that ml_dtypes adds.
"""

import ctypes
import sys
from typing import Any, NamedTuple

from .errors import ArgumentError

_NUMPY_DTYPES = {
    "float32": "f32",
    "bfloat16": "bf16",
    "uint16": "bf16",
    "float16": "f16",
    "int32": "i32",
    "int64": "i64",
}
_TORCH_DTYPES = {
    f"torch.{name}": dtype for name, dtype in _NUMPY_DTYPES.items() if name != "uint16"
}
_DLPACK_DTYPES = {(2, 32): "f32", (4, 16): "bf16", (2, 16): "f16", (0, 32): "i32", (0, 64): "i64"}
_DLPACK_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}  # 3: pinned, 13: managed

BYTES = {"f32": 4, "bf16": 2, "f16": 2, "i32": 4, "i64": 8}


class Array(NamedTuple):
    """An array that somebody else owns. Strides are in elements; keep holds the memory."""

    data: int
    dtype: str
    shape: tuple
    stride: tuple
    device: str
    writable: bool
    keep: Any


def _dtype(known, key, name):
    if key in known:
        return known[key]
    raise TypeError(
        f"{name} is of type {key}; maskc has float32, bfloat16, float16, int32 and int64"
    )


def _of_numpy(x, name):
    dtype = _dtype(_NUMPY_DTYPES, x.dtype.name, name)
    if not x.dtype.isnative or any(s % x.itemsize for s in x.strides):
        raise ArgumentError(
            f"{name} has elements in foreign byte order, or at no multiple of their size"
        )
    stride = tuple(s // x.itemsize for s in x.strides)
    return Array(x.ctypes.data, dtype, x.shape, stride, "cpu", x.flags.writeable, x)


def _of_torch(x, name):
    dtype = _dtype(_TORCH_DTYPES, str(x.dtype), name)
    return Array(x.data_ptr(), dtype, tuple(x.shape), x.stride(), str(x.device), True, x)


# ---- DLPack: https://dmlc.github.io/dlpack, version 0 ----


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("stride", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = (
    ctypes.c_void_p,
    [ctypes.py_object, ctypes.c_char_p],
)


def contiguous(shape):
    """Strides of an array in C order."""
    stride, step = [], 1
    for n in reversed(shape):
        stride.insert(0, step)
        step *= n
    return tuple(stride)


def _of_dlpack(x, name, stream):
    device_type, device_id = x.__dlpack_device__()
    kind = _DLPACK_DEVICES.get(int(device_type))
    if kind is None:
        raise ArgumentError(
            f"{name} is on a device of DLPack type {int(device_type)}; maskc has CUDA and the CPU"
        )
    # Not renamed to "used_dltensor": the capsule keeps the memory, and frees it with itself.
    capsule = x.__dlpack__(stream=stream or 1) if kind == "cuda" else x.__dlpack__()
    t = _DLTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    dtype = _dtype(_DLPACK_DTYPES, (t.code, t.bits), name) if t.lanes == 1 else None
    if dtype is None:
        raise TypeError(f"{name} has elements of {t.lanes} lanes")
    shape = tuple(t.shape[: t.ndim])
    stride = tuple(t.stride[: t.ndim]) if t.stride else contiguous(shape)
    device = f"cuda:{device_id}" if kind == "cuda" else "cpu"
    return Array((t.data or 0) + t.byte_offset, dtype, shape, stride, device, True, (capsule, x))


def is_torch(x):
    """Whether x is a torch.Tensor. Where PyTorch has not been imported, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def describe(x, name="array", stream=0):
    """What the C API needs to know of x. stream: where a producer of DLPack makes it ready."""
    if isinstance(x, Array):
        return x
    if hasattr(x, "__array_interface__") and hasattr(x, "ctypes"):
        return _of_numpy(x, name)
    if is_torch(x):
        return _of_torch(x, name)
    if hasattr(x, "__dlpack__"):
        return _of_dlpack(x, name, stream)
    raise TypeError(
        f"{name} is {type(x).__name__}; it takes a NumPy array, a tensor, or what has __dlpack__"
    )
