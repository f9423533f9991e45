# SPDX-License-Identifier: MIT
"""Op: one pass of one variant at one size, type and device; the C API's mkc_op.

    op = Op("simple_gla", dk=64, dv=64)              # spec -> source: milliseconds
    op.prepare()                                     # source -> code: slow once, then cached
    op.launch({"q": q, "k": k, "v": v, "g": g, "o": o})

The caller owns all arrays, outputs too. maskc.op (variant.py) is the comfortable way: it allocates
outputs and makes an Op for each size that it meets.
"""

import ctypes
from typing import NamedTuple

from . import _lib
from .arrays import describe
from .errors import ArgumentError, SpecError

AXIS_NAMES = {"C": "N + 1", "k": "dk", "v": "dv", "L": "levels", "S": "slots"}

WORKSPACE_ALIGN = 16  # bytes


class Arg(NamedTuple):
    """An array of an op, in the order of launches. axes: "BTHk", as in docs/c-api.md."""

    name: str
    axes: str
    dtype: str
    output: bool
    optional: bool
    in_place: bool

    def __str__(self):
        return f"{self.name} [{', '.join(AXIS_NAMES.get(a, a) for a in self.axes)}]"


def is_text(spec):
    """Whether it is a spec's text, and not its name or file."""
    return "{" in spec


def is_file(spec):
    """Whether it is a spec's file, by the library's rule."""
    return not is_text(spec) and ("/" in spec or spec.endswith(".lua"))


_paths = {}  # of texts that were read from files, so that messages name the file


def read_file(path):
    """A spec's text as it is now: a file that is edited is another spec."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from None
    _paths[text] = path
    return text


def _settings(settings):
    array = (_lib.Setting * len(settings))()
    for place, (name, value) in zip(array, settings.items()):
        place.name, place.value = name.encode(), value
    return array


def _options(spec, device, step, dtype, dk, dv, chunk, align, heads, arch, settings):
    if dtype not in ("f32", "bf16", "f16"):
        raise ArgumentError(f"dtype is {dtype!r}; an op is of 'bf16', 'f16' or 'f32'")
    options = _lib.OpOptions(struct_size=ctypes.sizeof(_lib.OpOptions))
    if is_text(spec):
        options.spec_text = spec.encode()
        options.spec_path = _paths.get(spec, "spec").encode()
    else:
        options.spec_path = spec.encode()
    options.device = device.encode()
    options.arch = arch.encode() if arch else None
    options.pass_ = _lib.STEP if step else _lib.FORWARD
    options.dtype = _lib.DTYPES.index(dtype)
    options.dk, options.dv, options.chunk = dk, dv, chunk
    options.align, options.heads = align, heads
    options.settings, options.nsettings = _settings(settings), len(settings)
    return options


def fill(place, array):
    """An Array into a Tensor of ctypes."""
    ndim = len(array.shape)
    if ndim > _lib.MAX_DIMENSIONS:
        raise ArgumentError(
            f"an array of {ndim} dimensions; maskc has at most {_lib.MAX_DIMENSIONS}"
        )
    place.data, place.dtype, place.ndim = array.data, _lib.DTYPES.index(array.dtype), ndim
    place.shape[:ndim], place.stride[:ndim] = array.shape, array.stride


class Op:
    """spec: a name, a file or a text. device: "cpu", "cuda:N". settings: of the spec's options."""

    def __init__(
        self,
        spec,
        *,
        dk,
        dv,
        dtype="bf16",
        device="cpu",
        step=False,
        chunk=0,
        align=0,
        heads=0,
        arch=None,
        settings=None,
    ):
        self._lib = _lib.library()
        self.handle = ctypes.c_void_p()
        self.device, self.dtype = device, dtype
        options = _options(
            spec, device, step, dtype, dk, dv, chunk, align, heads, arch, settings or {}
        )
        _lib.check(self._lib.mkc_op_create(_lib.context(), options, ctypes.byref(self.handle)))
        self.args = tuple(self._arg(i) for i in range(self._lib.mkc_op_arg_count(self.handle)))
        self.index = {arg.name: i for i, arg in enumerate(self.args)}

    def __del__(self):
        if getattr(self, "handle", None):
            self._lib.mkc_op_destroy(self.handle)

    def _arg(self, i):
        info = _lib.ArgInfo(struct_size=ctypes.sizeof(_lib.ArgInfo))
        _lib.check(self._lib.mkc_op_arg_info(self.handle, i, ctypes.byref(info)))
        return Arg(
            info.name.decode(),
            info.axes.decode(),
            _lib.DTYPES[info.dtype],
            bool(info.output),
            bool(info.optional),
            bool(info.in_place),
        )

    @property
    def source(self):
        """The emitted kernel."""
        return self._lib.mkc_op_source(self.handle).decode()

    @property
    def plan(self):
        """The schedule and its sizes, as text."""
        return self._lib.mkc_op_plan(self.handle).decode()

    def prepare(self):
        """Everything slow: look in the cache, compile, load. Returns self."""
        _lib.check(self._lib.mkc_op_prepare(self.handle))
        return self

    def table(self):
        """An empty argument table: an array of mkc_tensor, all absent."""
        return (_lib.Tensor * len(self.args))()

    def workspace(self, table):
        """Bytes of scratch memory that a launch with this table wants."""
        ret = ctypes.c_size_t()
        _lib.check(self._lib.mkc_op_workspace(self.handle, table, len(table), ctypes.byref(ret)))
        return ret.value

    def _checked(self, name, x, stream):
        if name not in self.index:
            raise ArgumentError(
                f"there is no array {name}; the op has {', '.join(map(str, self.args))}"
            )
        array = describe(x, name, stream)
        if array.device != self.device:
            raise ArgumentError(f"{name} is on {array.device}; the op is on {self.device}")
        if self.args[self.index[name]].output and not array.writable:
            raise ArgumentError(f"{name} is read-only, and the op writes it")
        return array

    def launch(self, arrays, stream=0, workspace=None):
        """Runs the op on arrays, a dict by name; None leaves an optional one out.

        On a GPU it returns once the launch is in the stream (its handle, a number); the caller
        keeps the arrays until it is done. workspace: (address, bytes) for an op that wants scratch
        memory; on the CPU it is allocated here.
        """
        table = self.table()
        given = {n: self._checked(n, x, stream) for n, x in arrays.items() if x is not None}
        for name, array in given.items():
            fill(table[self.index[name]], array)
        wanted = self.workspace(table)
        if wanted and workspace is None:
            if self.device != "cpu":
                raise ArgumentError(
                    f"this launch wants a workspace of {wanted} bytes on {self.device}"
                )
            memory = (ctypes.c_char * (wanted + WORKSPACE_ALIGN))()
            workspace = -(-ctypes.addressof(memory) // WORKSPACE_ALIGN) * WORKSPACE_ALIGN, wanted
        address, size = workspace or (None, 0)
        _lib.check(self._lib.mkc_op_launch(self.handle, table, len(table), address, size, stream))
