#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""05_numpy.py - the C API from Python with ctypes and NumPy, on the CPU device.

    python3 examples/05_numpy.py [libmaskc.so]

Simple GLA on random fp16 arrays, one of them transposed in memory, compared with the recurrence in
float64. Exit status: 0 right, 1 wrong, 77 there is no NumPy.
"""
import ctypes as c
import sys

try:
    import numpy as np
except ImportError:
    print("NumPy is not installed")
    sys.exit(77)

# ---- maskc.h, as far as it is needed ----

MKC_F32, MKC_F16 = 0, 2
DTYPES = {np.dtype(np.float32): MKC_F32, np.dtype(np.float16): MKC_F16}


class OpOptions(c.Structure):
    """mkc_op_options. A field that is left out of a call is 0 or NULL."""
    _fields_ = [("struct_size", c.c_size_t), ("spec_path", c.c_char_p), ("spec_text", c.c_char_p),
                ("device", c.c_char_p), ("arch", c.c_char_p), ("pass_", c.c_int),
                ("dtype", c.c_int), ("dk", c.c_int), ("dv", c.c_int), ("chunk", c.c_int),
                ("check", c.c_int), ("align", c.c_int), ("settings", c.c_void_p),
                ("nsettings", c.c_int), ("heads", c.c_int)]


class Tensor(c.Structure):
    """mkc_tensor"""
    _fields_ = [("data", c.c_void_p), ("dtype", c.c_int), ("ndim", c.c_int),
                ("shape", c.c_int64 * 5), ("stride", c.c_int64 * 5)]


def load(path):
    lib = c.CDLL(path)
    for name in "mkc_version", "mkc_last_error":
        getattr(lib, name).restype = c.c_char_p
    lib.mkc_context_create.argtypes = [c.c_void_p, c.POINTER(c.c_void_p)]
    lib.mkc_op_create.argtypes = [c.c_void_p, c.POINTER(OpOptions), c.POINTER(c.c_void_p)]
    lib.mkc_op_arg_index.argtypes = [c.c_void_p, c.c_char_p]
    lib.mkc_op_launch.argtypes = [c.c_void_p, c.POINTER(Tensor), c.c_int, c.c_void_p, c.c_size_t,
                                  c.c_void_p]
    for name in "mkc_context_destroy", "mkc_op_prepare", "mkc_op_arg_count", "mkc_op_destroy":
        getattr(lib, name).argtypes = [c.c_void_p]
    for name in "mkc_context_destroy", "mkc_op_destroy":
        getattr(lib, name).restype = None
    return lib


# ---- an op ----

class Op:
    """One op on the CPU device; call it with arrays by name."""

    def __init__(self, lib, **options):
        self.lib, self.handle, context = lib, c.c_void_p(), c.c_void_p()
        o = OpOptions(c.sizeof(OpOptions), **options)
        self.check(lib.mkc_context_create(None, c.byref(context)))
        try:
            self.check(lib.mkc_op_create(context, c.byref(o), c.byref(self.handle)))
        finally:
            lib.mkc_context_destroy(context)  # the op holds it
        self.check(lib.mkc_op_prepare(self.handle))

    def __del__(self):
        self.lib.mkc_op_destroy(self.handle)

    def check(self, status):
        if status:
            raise RuntimeError(self.lib.mkc_last_error().decode())

    def __call__(self, **arrays):
        n = self.lib.mkc_op_arg_count(self.handle)
        args = (Tensor * n)()  # what stays zero is absent
        for name, x in arrays.items():
            i = self.lib.mkc_op_arg_index(self.handle, name.encode())
            if i < 0:
                raise TypeError(f"the op has no array {name}")
            args[i].data, args[i].dtype, args[i].ndim = x.ctypes.data, DTYPES[x.dtype], x.ndim
            for d in range(x.ndim):
                args[i].shape[d] = x.shape[d]
                args[i].stride[d] = x.strides[d] // x.itemsize  # in elements
        self.check(self.lib.mkc_op_launch(self.handle, args, n, None, 0, None))


# ---- simple GLA ----

def recurrence(q, k, v, g):
    B, T, H, dk = q.shape
    S, o = np.zeros((B, H, dk, v.shape[-1])), np.zeros(v.shape)
    for t in range(T):
        S = np.exp(g[:, t])[:, :, None, None] * S + k[:, t, :, :, None] * v[:, t, :, None, :]
        o[:, t] = dk**-0.5 * np.einsum("bhkv,bhk->bhv", S, q[:, t])
    return o


def aligned(shape, dtype=np.float16):
    """Arrays over channels begin at multiples of 16 bytes, which NumPy does not promise."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(n + 16, np.uint8)
    first = -memory.ctypes.data % 16
    return memory[first:first + n].view(dtype).reshape(shape)


def random(rng, shape):
    x = aligned(shape)
    x[...] = rng.standard_normal(shape)
    return x


def main():
    lib = load(sys.argv[1] if len(sys.argv) > 1 else "libmaskc.so.0")
    B, T, H, dk, dv = 2, 100, 3, 64, 32
    rng = np.random.default_rng(1)
    q, k = random(rng, (B, T, H, dk)), random(rng, (B, T, H, dk))
    v = random(rng, (B, H, T, dv)).transpose(0, 2, 1, 3)  # [B,T,H,dv], by strides
    g = -rng.random((B, T, H), np.float32)
    o = aligned((B, T, H, dv))
    op = Op(lib, spec_path=b"simple_gla", device=b"cpu", dtype=MKC_F16, dk=dk, dv=dv)
    op(q=q, k=k, v=v, g=g, o=o)
    expected = recurrence(*(x.astype(np.float64) for x in (q, k, v, g)))
    error = np.linalg.norm(o - expected) / np.linalg.norm(expected)
    print(f"maskc {lib.mkc_version().decode()}, simple_gla on the CPU device: "
          f"relative L2 error {error:.2e}")
    try:
        op(q=q, k=k, v=v, g=g[:, :50], o=o)
    except RuntimeError as e:
        print(f"and told what is wrong: {e}")
    else:
        error = np.inf
    return 0 if error < 2e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
