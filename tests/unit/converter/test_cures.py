"""Every message of the converter says what to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import media_converter

ROOT = Path(media_converter.__file__).parent
# Messages that say what a value must be say what to do.
SAYS_WHAT_MUST_BE = ("must ", " is missing", " not JSON", "use ", "unless ")


def messages() -> Iterator[tuple[str, str]]:
    """Where each message is, and the parts of it that are in the source."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or len(node.args) != 2:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            texts = [
                part.value
                for part in ast.walk(node.args[1])
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            text = "".join(texts)
            # The other parts come from elsewhere.
            if name == "ConversionError" and any(letter.isalpha() for letter in text):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def test_every_message_says_what_to_do() -> None:
    found = list(messages())
    assert len(found) > 30
    without = [
        place
        for place, text in found
        if ";" not in text and not any(words in text for words in SAYS_WHAT_MUST_BE)
    ]
    assert not without
