"""Makes text from outside fit for a status: bounded in bytes, valid UTF-8, no control codes.

Characters that change how the text around them is shown become escapes, such as ``\\u202e``.
"""

from __future__ import annotations

import re
from typing import Final

from media_converter.forbidden_paths import FORBIDDEN_CHARACTERS

_ESCAPE_SEQUENCE: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
_INVISIBLE: Final = re.compile(
    "[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in FORBIDDEN_CHARACTERS if a > 0x9F) + "]"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(text: str) -> str:
    """The text without terminal codes and control characters, except line ends and tabs.

    Progress bars overwrite their line with carriage returns. Only the last version of such a line
    stays, because hours of progress would otherwise become one very long line.
    """
    lines = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n").split("\n")
    lines = [_INVISIBLE.sub(_escape, line) for line in lines]
    return "\n".join(_CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2]) for line in lines)


def _escape(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode()


def head(text: str, limit: int) -> str:
    """The beginning of ``text`` in at most ``limit`` bytes. It never cuts a character."""
    return clean(text).encode()[:limit].decode(errors="ignore")


def tail(text: str, limit: int) -> str:
    """The end of ``text`` in at most ``limit`` bytes, from the start of a line if possible."""
    raw = clean(text).strip().encode()
    if len(raw) <= limit:
        return raw.decode()
    cut = raw[len(raw) - limit :].decode(errors="ignore")
    _, newline, rest = cut.partition("\n")
    return rest if newline and rest else cut


def head_as_printed(text: str, limit: int) -> str:
    """The start of ``text`` that kubectl prints as at most ``limit`` bytes.

    It prints <, > and & as six bytes each.
    """
    size = 0
    for place, sign in enumerate(text):
        size += 6 if sign in "<>&" else len(sign.encode())
        if size > limit:
            return text[:place]
    return text


def one_line(text: str, limit: int) -> str:
    """``text`` on one line, with single spaces, in at most ``limit`` bytes."""
    return head(" ".join(text.split()), limit)
