"""Which characters no path may contain, and which folder no input or output may be in.

The operator imports this module too, so it does no I/O and imports the standard library only.
"""

from __future__ import annotations

import re
from typing import Final

FORBIDDEN_CHARACTERS: Final = (
    (0x0000, 0x001F),  # control characters, such as line breaks
    (0x007F, 0x009F),
    (0x061C, 0x061C),  # Arabic letter mark
    (0x180E, 0x180E),  # Mongolian vowel separator
    (0x200B, 0x200B),  # zero-width space
    (0x200E, 0x200F),  # left-to-right and right-to-left mark
    (0x2028, 0x202E),  # line and paragraph separator, bidirectional embeddings and overrides
    (0x2060, 0x206F),  # word joiner, invisible operators, bidirectional isolates
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFF9, 0xFFFB),  # interlinear annotations
    (0xE0001, 0xE0001),  # language tag
)
"""Ranges of characters that no path may contain.

They break a line, change the direction of the text around them, or are not visible. So a path with
one could look like another path, or forge a line of a log or of ``kubectl describe``. Two invisible
characters are allowed, because real names contain them and they change nothing else: the zero-width
joiner of emoji (U+200D) and the zero-width non-joiner of Persian (U+200C).
"""

NO_FORBIDDEN_CHARACTERS: Final = (
    "must not contain control characters, such as line breaks, or invisible characters that change "
    "how text is shown"
)

LOG_FOLDER: Final = ".conversion-logs"
"""The folder of the converter's logs, in the root of the shared volume."""
LOG_FOLDER_PATTERN: Final = r"^/?[.]conversion-logs(/|$)"
"""What the lower case of a path in this folder matches. Some volumes ignore the case of names."""
NOT_IN_LOG_FOLDER: Final = f"must not be in the folder {LOG_FOLDER}, which is for the logs"

# Half of a surrogate pair is no character. JSON can hold one, but a file name or a request cannot.
_SURROGATES: Final = (0xD800, 0xDFFF)
_FORBIDDEN: Final = re.compile(
    "[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in (*FORBIDDEN_CHARACTERS, _SURROGATES)) + "]"
)


def has_forbidden_character(text: str) -> bool:
    """Whether the text has a character that no path may contain."""
    return _FORBIDDEN.search(text) is not None


def is_in_log_folder(path: str) -> bool:
    """Whether a path from the root of the volume leads to the folder of logs, or is this folder."""
    first = next((part for part in path.split("/") if part), "")
    return first.lower() == LOG_FOLDER
