# SPDX-License-Identifier: MIT
"""maskc: sub-quadratic attention from mask specs. docs/python.md is the five-minute tour.

maskc.op(spec)      a spec as a function of arrays: NumPy on the CPU device, PyTorch on both
maskc.Op            one pass at one size, close to the C API
maskc.add_pack      ops that were compiled ahead of time
maskc.ops           functions named as flash-linear-attention's (needs PyTorch)
"""

import os as _os

from ._lib import check, context, library
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


def add_pack(path):
    """Adds a pack, a file that `maskc build --emit=pack` wrote: from now on ops come from it, where it
    has them, in place of the compiler. It runs as code of the process: add what you would import."""
    check(library().mkc_context_add_pack(context(), _os.fsencode(path)))


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
    "add_pack",
    "library_version",
    "op",
]
