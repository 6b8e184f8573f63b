"""What the commands print, and where to. The only module that knows whether it is a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Any, Final

import typer

from kubectl_conversion import data, yaml_text
from kubectl_conversion.model import text_at
from kubectl_conversion.tables import Column, render
from kubectl_conversion.text import safe

_PLAIN_WIDTH: Final = 100


class Exit(IntEnum):
    """The exit codes. docs/plugin.md lists them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO = 3
    UNKNOWN = 4
    INTERRUPTED = 130


class Format(StrEnum):
    """The values of -o."""

    TABLE = ""
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """The width of the terminal, or that of plain text."""
    return shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns if is_terminal() else _PLAIN_WIDTH


def has_colour() -> bool:
    """Whether colours are wanted. See https://no-color.org."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines that are safe already."""
    for line in lines:
        print(line)


def print_table(titles: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. On a terminal it fits; otherwise it is whole."""
    print_lines(render(titles, rows, columns() if is_terminal() else None))


def note(text: str) -> None:
    """Say something to the person, not to a program that reads stdout."""
    print(safe(text), file=sys.stderr)


def print_objects(chosen: Format, objects: Sequence[Mapping[str, Any]], *, single: bool) -> bool:
    """Print objects as JSON, YAML or names. False for the formats of tables."""
    if chosen is Format.NAME:
        for obj in objects:
            kind = text_at(obj, "kind").lower() or "object"
            print(safe(f"{kind}.{data.load()['group']}/{text_at(obj, 'metadata', 'name')}"))
        return True
    if chosen not in (Format.JSON, Format.YAML):
        return False
    whole: object = objects[0] if single and len(objects) == 1 else _list(objects)
    print_value(chosen, whole)
    return True


def print_value(chosen: Format, value: object) -> None:
    """Print a value as JSON or YAML. Neither contains a character that a terminal obeys."""
    if chosen is Format.YAML:
        print(yaml_text.dump(value), end="")
    else:
        print(json.dumps(value, indent=2))


def _list(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "List",
        "metadata": {"resourceVersion": ""},
        "items": list(objects),
    }


def confirm(question: str, *, yes: bool) -> None:
    """Ask once before many objects change. Ends the command if the answer is not yes."""
    if yes:
        return
    if not (sys.stdin.isatty() and is_terminal()):
        note(f"{question} Nobody can answer here: add --yes.")
        raise typer.Exit(Exit.USAGE)
    print(f"{safe(question)} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        note("Nothing was changed.")
        raise typer.Exit(Exit.FAILED)
