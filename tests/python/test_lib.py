# SPDX-License-Identifier: MIT
"""maskc/_lib.py: its structs lie as the C compiler lays out maskc.h's, and a library that is not
there, or not ours, is told so. Needs nothing but Python, and cc for the layouts."""

import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import support

import maskc
from maskc import _lib

ROOT = pathlib.Path(__file__).resolve().parents[2]
STRUCTS = {
    "mkc_context_options": _lib.ContextOptions,
    "mkc_setting": _lib.Setting,
    "mkc_op_options": _lib.OpOptions,
    "mkc_arg_info": _lib.ArgInfo,
    "mkc_tensor": _lib.Tensor,
}
# _lib.ContextOptions stops before fields that the package leaves alone.
SHORT = {"mkc_context_options"}


def layout_of_python():
    lines = []
    for name, struct in STRUCTS.items():
        if name not in SHORT:
            lines.append(f"{name} {ctypes.sizeof(struct)}")
        lines += [
            f"{name}.{f[0].rstrip('_')} {getattr(struct, f[0]).offset}" for f in struct._fields_
        ]
    return lines


def layout_of_c(folder):
    prints = []
    for name, struct in STRUCTS.items():
        if name not in SHORT:
            prints.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field in (f[0].rstrip("_") for f in struct._fields_):
            prints.append(f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
    source = pathlib.Path(folder, "layout.c")
    source.write_text(
        "#include <maskc.h>\n#include <stdio.h>\nint main(void) {\n" + "\n".join(prints) + "\n}\n"
    )
    subprocess.run(["cc", "-I", ROOT / "runtime", source, "-o", source.with_suffix("")], check=True)
    return subprocess.run(
        [source.with_suffix("")], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()


def in_a_process(code, **environment):
    """What a fresh Python prints."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


ASK = (
    "import maskc\ntry: maskc.library_version()\nexcept maskc.EnvironmentLacksError as e: print(e)"
)


class Library(unittest.TestCase):
    @unittest.skipUnless(shutil.which("cc"), "no cc")
    def test_layouts(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(layout_of_python(), layout_of_c(folder))

    def test_version(self):
        self.assertEqual(maskc.library_version(), maskc.__version__)

    def test_a_missing_library(self):
        self.assertIn("MASKC_LIBRARY", in_a_process(ASK, MASKC_LIBRARY="/nowhere/libmaskc.so"))

    def test_another_library(self):
        self.assertIn("has no mkc_version", in_a_process(ASK, MASKC_LIBRARY="libc.so.6"))

    def test_a_folder(self):
        folder = pathlib.Path(os.environ["MASKC_LIBRARY"]).parent
        code = "import maskc\nprint(maskc.library_version())"
        self.assertEqual(in_a_process(code, MASKC_LIBRARY=str(folder)).strip(), maskc.__version__)

    def test_the_log(self):
        code = """if True:
            import logging, sys, maskc
            logging.basicConfig(format="%(name)s %(levelname)s %(message)s", stream=sys.stdout)
            maskc.Op("simple_gla", dk=16, dv=16).prepare()"""
        told = in_a_process(code, MASKC_CACHE_DIR="/proc/nowhere")
        self.assertRegex(told, "^maskc WARNING .*/proc/nowhere")


class Errors(unittest.TestCase):
    def test_kinds(self):
        with self.assertRaises(maskc.SpecError) as caught:
            maskc.Op('return variant { nome = "x" }', dk=16, dv=16)
        self.assertIn("nome", str(caught.exception))
        self.assertEqual(caught.exception.status, 1001)
        with self.assertRaises(maskc.SpecError):
            maskc.Op("no_such_spec", dk=16, dv=16)
        with self.assertRaises(maskc.NotServedError):
            maskc.Op("simple_gla", dk=17, dv=16)
        with self.assertRaises(ValueError):
            maskc.Op("simple_gla", dk=16, dv=16, dtype="f64")
        with self.assertRaises(ValueError):
            maskc.Op("simple_gla", dk=16, dv=16, device="tpu:0")
        with self.assertRaises(ValueError):
            maskc.Op("simple_gla", dk=16, dv=16, settings={"window": 4})

    def test_texts(self):
        op = maskc.Op("simple_gla", dk=16, dv=16)
        self.assertIn("(scan", op.plan)
        self.assertIn("simple_gla", op.source)
        self.assertEqual([a.name for a in op.args][:4], ["q", "k", "v", "g"])


if __name__ == "__main__":
    support.main()
