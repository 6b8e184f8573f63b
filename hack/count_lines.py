"""Counts the lines of product code: Python without comments, docstrings and blank lines.

``python hack/count_lines.py [DIR]`` prints the number for each package of the checkout DIR, and the
total. DIR is the current folder by default.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

PRODUCT = ("operator", "gateway", "converter-module", "client", "plugin")

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """How many lines hold code. A string that stands alone is documentation, not code."""
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            numbers.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                numbers.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(numbers)


def count(root: Path) -> Counter[str]:
    """The number by package, as a path below ``root``."""
    lines: Counter[str] = Counter()
    for source in PRODUCT:
        for file in sorted((root / source).glob("**/*.py")):
            folders = file.relative_to(root).parts[:-1]
            lines["/".join(folders[:3])] += code_lines(file.read_text(encoding="utf-8"))
    return lines


def main(root: Path) -> None:
    """Print the table."""
    lines = count(root)
    for name, number in (*sorted(lines.items()), ("total", lines.total())):
        print(f"{number:6}  {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "."))
