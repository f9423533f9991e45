# SPDX-License-Identifier: MIT
"""maskc: sub-quadratic attention from mask specs. docs/python.md is the five-minute tour.

maskc.op(spec)      a spec as a function of arrays: NumPy on the CPU device, PyTorch on both
maskc.Op            one pass at one size, close to the C API
maskc.ops           functions named as flash-linear-attention's (needs PyTorch)
"""

from ._lib import library
from .errors import (
    ArgumentError,
    EnvironmentLacksError,
    InternalError,
    MaskcError,
    NotServedError,
    SpecError,
    UsageError,
)
from .op import Arg, Op
from .variant import Variant, op

__version__ = "0.1.0"


def library_version():
    """The version of the libmaskc that is loaded."""
    return library().mkc_version().decode()


__all__ = [
    "Arg",
    "ArgumentError",
    "EnvironmentLacksError",
    "InternalError",
    "MaskcError",
    "NotServedError",
    "Op",
    "SpecError",
    "UsageError",
    "Variant",
    "library_version",
    "op",
]
