# SPDX-License-Identifier: MIT
"""The Python blocks of docs/python.md run, in order; those that need PyTorch where it is."""

import importlib.util
import pathlib
import re
import unittest

import support

support.need("numpy")

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"


def blocks():
    """(line, text) of each."""
    text = PAGE.read_text()
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start()].count("\n") + 2, match[1]


class Page(unittest.TestCase):
    def test_blocks_run(self):
        names, ran = {}, 0
        for line, text in blocks():
            if "torch" in text and importlib.util.find_spec("torch") is None:
                break
            exec(compile("\n" * (line - 1) + text, str(PAGE), "exec"), names)
            ran += 1
        self.assertGreaterEqual(ran, 3)
        self.assertEqual(names["o"].shape, (2, 100, 4, 64) if "torch" in names else (2, 1, 4, 64))

    @unittest.skipUnless(importlib.util.find_spec("torch"), "no torch")
    def test_functions_are_listed(self):
        from maskc import ops

        page = PAGE.read_text()
        for name in ops.__all__:
            self.assertIn(f"`{name}`", page)


if __name__ == "__main__":
    support.main()
