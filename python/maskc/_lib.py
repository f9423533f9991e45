# SPDX-License-Identifier: MIT
"""libmaskc by ctypes: where it is looked for, and maskc.h in ctypes' words.

Everything here mirrors runtime/maskc.h and nothing else; tests/python/test_lib.py compares the
layouts with those of the C compiler. library() opens the library once a process and declares its
functions.
"""

import ctypes
import ctypes.util
import functools
import logging
import os
import pathlib

from .errors import EnvironmentLacksError, from_status

DTYPES = ("f32", "bf16", "f16", "i32", "i64")  # by their mkc_dtype
FORWARD, STEP = 0, 1  # mkc_pass
MAX_DIMENSIONS = 5
SONAME = "libmaskc.so.0"
VERSION = (0, 1)  # of maskc.h: major, minor


LOG_HOOK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


class ContextOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("cache_dir", ctypes.c_char_p),
        ("no_cache", ctypes.c_int),
        ("log", LOG_HOOK),
        ("log_user", ctypes.c_void_p),
    ]


class Setting(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_int)]


class OpOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("spec_path", ctypes.c_char_p),
        ("spec_text", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("arch", ctypes.c_char_p),
        ("pass_", ctypes.c_int),
        ("dtype", ctypes.c_int),
        ("dk", ctypes.c_int),
        ("dv", ctypes.c_int),
        ("chunk", ctypes.c_int),
        ("check", ctypes.c_int),
        ("align", ctypes.c_int),
        ("settings", ctypes.POINTER(Setting)),
        ("nsettings", ctypes.c_int),
        ("heads", ctypes.c_int),
    ]


class ArgInfo(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("axes", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("output", ctypes.c_int),
        ("optional", ctypes.c_int),
        ("in_place", ctypes.c_int),
    ]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.c_int64 * MAX_DIMENSIONS),
        ("stride", ctypes.c_int64 * MAX_DIMENSIONS),
    ]


_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_TENSORS = ctypes.c_void_p  # a table, or its address, which ctypes passes on fastest

# name: (result, arguments)
_FUNCTIONS = {
    "mkc_version": (ctypes.c_char_p, []),
    "mkc_status_string": (ctypes.c_char_p, [_INT]),
    "mkc_last_error": (ctypes.c_char_p, []),
    "mkc_context_create": (_INT, [ctypes.POINTER(ContextOptions), ctypes.POINTER(_POINTER)]),
    "mkc_context_add_pack": (_INT, [_POINTER, ctypes.c_char_p]),
    "mkc_op_create": (_INT, [_POINTER, ctypes.POINTER(OpOptions), ctypes.POINTER(_POINTER)]),
    "mkc_op_destroy": (None, [_POINTER]),
    "mkc_op_prepare": (_INT, [_POINTER]),
    "mkc_op_arg_count": (_INT, [_POINTER]),
    "mkc_op_arg_info": (_INT, [_POINTER, _INT, ctypes.POINTER(ArgInfo)]),
    "mkc_op_source": (ctypes.c_char_p, [_POINTER]),
    "mkc_op_plan": (ctypes.c_char_p, [_POINTER]),
    "mkc_op_workspace": (_INT, [_POINTER, _TENSORS, _INT, ctypes.POINTER(ctypes.c_size_t)]),
    "mkc_op_launch": (_INT, [_POINTER, _TENSORS, _INT, _POINTER, ctypes.c_size_t, _POINTER]),
}


def _candidates():
    """What is tried, in order. $MASKC_LIBRARY, a file or a folder, is the only one if it is set."""
    given = os.environ.get("MASKC_LIBRARY")
    if given:
        path = pathlib.Path(given)
        return [str(path / SONAME if path.is_dir() else path)]
    beside = pathlib.Path(__file__).parent / SONAME
    found = ctypes.util.find_library("maskc")
    return ([str(beside)] if beside.exists() else []) + ([found] if found else []) + [SONAME]


def _open():
    why = []
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            why.append(str(error))
    raise EnvironmentLacksError(
        "libmaskc does not load (" + "; ".join(why) + "): install it, or set MASKC_LIBRARY to the "
        "file, for example build/libmaskc.so of a source tree"
    )


@functools.cache
def library():
    """The library, open, with its functions declared."""
    lib = _open()
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(lib, name, None)
        if function is None:
            raise EnvironmentLacksError(
                f"{lib._name} has no {name}: it is another version, or no libmaskc"
            )
        function.restype, function.argtypes = result, arguments
    version = lib.mkc_version().decode()
    if tuple(int(n) for n in version.split(".")[:2]) != VERSION:
        raise EnvironmentLacksError(
            f"{lib._name} is maskc {version}; this package is for {'.'.join(map(str, VERSION))}.x"
        )
    return lib


def check(status):
    """Raises what the library said, if it said that something is wrong."""
    if status:
        lib = library()
        message = lib.mkc_last_error() or lib.mkc_status_string(status)
        raise from_status(status, message.decode("utf-8", "replace"))


@LOG_HOOK
def _log(user, level, line):
    """What the library has to tell, to Python's logger "maskc": a warning, or information."""
    logger = logging.getLogger("maskc")
    logger.log(
        logging.WARNING if level == 0 else logging.INFO, "%s", line.decode("utf-8", "replace")
    )


@functools.cache
def context():
    """The process's context. It is never destroyed: ops hold it as long as they live."""
    options = ContextOptions(struct_size=ctypes.sizeof(ContextOptions))
    if not os.environ.get("MASKC_VERBOSE"):  # with which the library prints, where there is no hook
        options.log = _log
    ret = ctypes.c_void_p()
    check(library().mkc_context_create(ctypes.byref(options), ctypes.byref(ret)))
    return ret
