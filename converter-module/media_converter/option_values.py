"""Defines the kinds of values that options have. The options are in :mod:`options`.

The operator imports this module too, so it does no I/O and imports the standard library only.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeGuard


def in_words(items: Sequence[str], conjunction: str = "or") -> str:
    """``a, b or c``."""
    *most, last = items or [""]
    return f"{', '.join(most)} {conjunction} {last}" if most else last


# Each kind of option below has
#   pattern   a regular expression for its strings. RE2 (the API server), Python and JSON Schema
#             must agree about its meaning, so it has [0-9] and [.] instead of \d and \.
#   integers  the smallest and the largest allowed integer; None if only strings are allowed
#   must_be   the end of the sentence "options.NAME must be ..."
#   read()    converts a value; None if the value is not allowed


class Words(NamedTuple):
    """One of a few words."""

    words: tuple[str, ...]
    integers: None = None

    @property
    def pattern(self) -> str:
        """``^(low|high)$``."""
        return f"^({'|'.join(self.words)})$"

    @property
    def must_be(self) -> str:
        """``low or high``."""
        return in_words(self.words)

    def read(self, value: object) -> str | None:
        """The word."""
        return value if isinstance(value, str) and value in self.words else None


class Choices(NamedTuple):
    """One of a few numbers, with or without their unit."""

    numbers: tuple[int, ...]
    unit: str

    @property
    def pattern(self) -> str:
        """``^(32|40)k?$``."""
        unit = f"{self.unit}?" if self.unit else ""
        return f"^({'|'.join(map(str, self.numbers))}){unit}$"

    @property
    def integers(self) -> tuple[int, int]:
        """The smallest and the largest number. Not all numbers between them are allowed."""
        return min(self.numbers), max(self.numbers)

    @property
    def must_be(self) -> str:
        """``32k or 40k``."""
        return in_words([f"{number}{self.unit}" for number in self.numbers])

    def read(self, value: object) -> int | None:
        """The number."""
        text = str(value) if _is_integer(value) else value
        numbers = {f"{number}": number for number in self.numbers}
        return numbers.get(text.removesuffix(self.unit)) if isinstance(text, str) else None


class Percent(NamedTuple):
    """An integer from 1 to 100, as a number or a string."""

    pattern: str = "^([1-9][0-9]?|100)$"
    integers: tuple[int, int] = (1, 100)
    must_be: str = "an integer from 1 to 100"

    def read(self, value: object) -> int | None:
        """The number."""
        if isinstance(value, str):
            return int(value) if re.fullmatch(self.pattern, value) else None
        return value if _is_integer(value) and 1 <= value <= 100 else None


class Whole(NamedTuple):
    """A whole number within bounds, with or without its unit.

    ``digits`` is a pattern of exactly the numbers within the bounds.
    """

    digits: str
    integers: tuple[int, int]
    unit: str
    must_be: str

    @property
    def pattern(self) -> str:
        """``^([1-9][0-9]|100)k?$``."""
        return f"^({self.digits}){self.unit}?$" if self.unit else f"^({self.digits})$"

    def read(self, value: object) -> int | None:
        """The number."""
        text = str(value) if _is_integer(value) else value
        if not isinstance(text, str) or not re.fullmatch(self.pattern, text):
            return None
        return int(text.removesuffix(self.unit))


def whole_up_to(most: int) -> Whole:
    """A whole number from 1 to ``most``, which is a power of ten."""
    digits = f"[1-9][0-9]{{0,{len(str(most)) - 2}}}|{most}"
    return Whole(digits, (1, most), "", f"an integer from 1 to {most}")


class Size(NamedTuple):
    """WIDTHxHEIGHT in pixels. ``read`` checks ``max_side``, the pattern does not."""

    max_side: int
    pattern: str = "^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
    integers: None = None

    @property
    def must_be(self) -> str:
        """The bounds in words."""
        return f"WIDTHxHEIGHT, such as 800x600, with sides of 1 to {self.max_side} pixels"

    def read(self, value: object) -> tuple[int, int] | None:
        """Width and height."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            return None
        width, height = map(int, value.split("x"))
        return (width, height) if max(width, height) <= self.max_side else None


class Lufs(NamedTuple):
    """A loudness in LUFS, from -40 to -9, with at most one decimal."""

    pattern: str = "^-(40|(9|[12][0-9]|3[0-9])([.][0-9])?)$"
    integers: tuple[int, int] = (-40, -9)
    must_be: str = 'LUFS from -40 to -9, such as -16 or "-16.5"'

    def read(self, value: object) -> float | None:
        """LUFS."""
        text = str(value) if _is_integer(value) else value
        if not isinstance(text, str) or not re.fullmatch(self.pattern, text):
            return None
        return float(text)


class Colour(NamedTuple):
    """A colour as RRGGBB, or the word transparent.

    Without quotes, YAML reads 102030 as a number and "#" as the start of a comment.
    """

    pattern: str = "^([0-9A-Fa-f]{6}|transparent)$"
    must_be: str = 'a colour as RRGGBB in quotes, such as "1E90FF", or transparent'
    integers: None = None

    def read(self, value: object) -> str | None:
        """The colour in capital letters, or the word."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            return None
        return value if value == "transparent" else value.upper()


OPAQUE_COLOUR: Final = Colour("^[0-9A-Fa-f]{6}$", 'a colour as RRGGBB in quotes, such as "1E90FF"')


class Time(NamedTuple):
    """Seconds, or hours, minutes and seconds. ``read`` checks the bounds, the pattern does not.

    ``allows_zero`` says whether 0 is one of the values.
    """

    max_seconds: int
    allows_zero: bool = True
    pattern: str = "^([0-9]{1,6}|[0-9]{1,3}:[0-5]?[0-9]:[0-5]?[0-9])([.][0-9]{1,6})?$"

    @property
    def integers(self) -> tuple[int, int]:
        """The bounds of a value that is an integer."""
        return 0 if self.allows_zero else 1, self.max_seconds

    @property
    def must_be(self) -> str:
        """The bounds in words."""
        least = "from 0 to" if self.allows_zero else "more than 0 and at most"
        return (
            f'seconds (90 or "1.5") or "HH:MM:SS.mmm" (such as "00:01:30"), {least} '
            f"{self.max_seconds} seconds"
        )

    def read(self, value: object) -> float | None:
        """Seconds. The CRD does not allow a number with decimals."""
        if isinstance(value, str):
            seconds = self._parse(value)
        else:
            seconds = value if _is_integer(value) or isinstance(value, float) else None
        # Compare before converting, because JSON has integers that no float can hold.
        if seconds is None or not 0 <= seconds <= self.max_seconds:
            return None
        return float(seconds) if self.allows_zero or seconds > 0 else None

    def _parse(self, text: str) -> float | None:
        if not re.fullmatch(self.pattern, text):
            return None
        *clock, seconds = text.split(":")
        hours, minutes = map(int, clock or (0, 0))
        return hours * 3600 + minutes * 60 + float(seconds)


class Share(NamedTuple):
    """A part of a whole, 0 to 1."""

    fraction: float


class Moment(NamedTuple):
    """As Time, or a percentage of the duration."""

    max_seconds: int
    pattern: str = (
        "^(([0-9]{1,6}|[0-9]{1,3}:[0-5]?[0-9]:[0-5]?[0-9])([.][0-9]{1,6})?"
        "|([0-9]{1,2}([.][0-9]{1,6})?|100([.]0{1,6})?)%)$"
    )
    percent_pattern: str = "^([0-9]{1,2}([.][0-9]{1,6})?|100([.]0{1,6})?)%$"

    @property
    def integers(self) -> tuple[int, int]:
        """The bounds of a value that is an integer."""
        return 0, self.max_seconds

    @property
    def must_be(self) -> str:
        """The bounds in words."""
        return f'{Time(self.max_seconds).must_be}, or a percentage from "0%" to "100%"'

    def read(self, value: object) -> float | Share | None:
        """Seconds, or a share of the duration."""
        if isinstance(value, str) and re.fullmatch(self.percent_pattern, value):
            return Share(float(value[:-1]) / 100)
        return Time(self.max_seconds).read(value)


Kind = Words | Choices | Percent | Whole | Size | Colour | Lufs | Time | Moment
"""A kind of values."""


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
