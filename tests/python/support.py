# SPDX-License-Identifier: MIT
"""What the tests share. A test file runs alone; without what it needs it exits with 77, skipped.

MASKC_LIBRARY=build/libmaskc.so PYTHONPATH=python python3 tests/python/test_numpy.py
"""

import importlib.util
import sys
import unittest

TOLERANCE = 5e-3  # of o in bf16, relative L2, as `maskc run` has it
STATE_TOLERANCE = 3e-3


def need(*modules):
    """Ends the program as skipped where a module is missing."""
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        print(f"skipped: no {', '.join(missing)}")
        sys.exit(77)


def main():
    unittest.main(verbosity=2)
