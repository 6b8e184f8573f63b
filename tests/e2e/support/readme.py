"""Finds the commands in a Markdown page."""

from __future__ import annotations

from dataclasses import dataclass

from markdown_it import MarkdownIt

SHELLS = ("sh", "bash", "shell")
SESSIONS = ("console",)


@dataclass(frozen=True, slots=True)
class Block:
    """One code block as a script. ``line`` is its first line in the page."""

    line: int
    script: str


def command_blocks(page: str) -> list[Block]:
    """The commands in indented blocks and in blocks of ```sh and ```console, in order.

    In a console session, a command starts with `$ `. A backslash or a here-document continues it
    on the next lines. All other lines are output.
    """
    blocks = []
    for token in MarkdownIt().parse(page):
        if token.map is None:
            continue
        language = token.info.split()[0] if token.info.split() else ""
        if token.type == "code_block":
            blocks.append(Block(token.map[0] + 1, token.content))
        elif language in SHELLS:
            blocks.append(Block(token.map[0] + 2, token.content))
        elif language in SESSIONS:
            blocks.append(Block(token.map[0] + 2, _typed(token.content)))
    return [block for block in blocks if block.script.strip()]


def python_blocks(page: str) -> list[Block]:
    """The blocks of ```python, in order."""
    return [
        Block(token.map[0] + 2, token.content)
        for token in MarkdownIt().parse(page)
        if token.map is not None and token.info.strip() == "python"
    ]


def commands_in_text(page: str) -> list[str]:
    """The inline `code` of the page's sentences."""
    inline = (token for token in MarkdownIt().parse(page) if token.type == "inline")
    return [
        child.content
        for token in inline
        for child in token.children or ()
        if child.type == "code_inline"
    ]


def _typed(session: str) -> str:
    typed: list[str] = []
    continued, end_mark = False, ""
    for line in session.splitlines():
        if end_mark or continued:
            text = line.removeprefix("> ")
        elif line.startswith("$ "):
            text = line[2:]
        else:
            continue
        typed.append(text)
        if end_mark:
            end_mark = "" if text == end_mark else end_mark
            continue
        continued = text.endswith("\\")
        if "<<" in text:
            end_mark = text.split("<<", 1)[1].split()[0].strip("-'\"")
    return "\n".join(typed) + "\n"


def without(script: str, lines: tuple[str, ...]) -> str:
    """The script without the given lines, whether or not a comment follows them."""
    kept = [line for line in script.splitlines() if line.split("#")[0].strip() not in lines]
    return "\n".join(kept) + "\n"
