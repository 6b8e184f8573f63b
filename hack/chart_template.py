"""Writes an object as a Helm template: YAML with template expressions in the place of values."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml


class Expression(NamedTuple):
    """A template expression in the place of a scalar."""

    text: str


class Lines(NamedTuple):
    """Lines of a template in the place of a list item or of a key with its value.

    Each ``nindent`` is relative to that place.
    """

    text: str


New = Expression | Lines
Edit = New | Callable[[str], New]
"""What a template has in the place of a value. A function gets the value in deploy/."""


def edit(item: dict[str, Any], edits: dict[str, Edit]) -> None:
    """Put the edits into an object. ``edits`` has them by the path of a field.

    In a path, a number is a position in a list, ``*`` the only key, and ``+`` adds lines at the
    end.
    """
    for path, new in edits.items():
        *parents, last = path.split(".")
        target: Any = item
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if last == "*":
            (last,) = target
        if last == "+" and isinstance(target, list):
            target.append(new)
            continue
        place: Any = int(last) if isinstance(target, list) else last
        target[place] = new(target[place]) if callable(new) else new


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, and keeps the order of keys."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rendered(item: dict[str, Any]) -> str:
    """The YAML of an object, with the texts of its expressions and lines in their places."""
    marks: dict[str, New] = {}

    def marked(value: Any) -> Any:
        if isinstance(value, (Expression, Lines)):
            mark = f"XMARK{len(marks)}X"
            marks[mark] = value
            return mark
        if isinstance(value, dict):
            return {name: marked(inner) for name, inner in value.items()}
        return [marked(inner) for inner in value] if isinstance(value, list) else value

    text = yaml.dump(marked(item), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    text = text.replace("{{", '{{ "{{" }}')
    for mark, new in marks.items():
        if isinstance(new, Expression):
            text = text.replace(mark, new.text)
            continue
        # A list item, or a key that is not the first one of a list item.
        (found,) = re.finditer(rf"^( *)(?:- |[^- ]\S*: ){mark}\n", text, re.MULTILINE)
        text = text[: found.start()] + _indented(new, found[1]) + text[found.end() :]
    return text


def _indented(lines: Lines, indent: str) -> str:
    text = re.sub(r"nindent (\d+)", lambda f: f"nindent {len(indent) + int(f[1])}", lines.text)
    return textwrap.indent(text, indent) + "\n"
