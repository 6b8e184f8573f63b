"""CEL rules about the extension and the options of one output."""

from __future__ import annotations

from typing import Final

from conversion_operator.api.cel import ValidationRule, cel_list, cel_map
from media_converter.option_values import Choices, Kind, Moment, Size, Time, in_words
from media_converter.options import (
    EXCLUSIVE,
    FORMATS,
    GRAMMAR,
    NEEDS,
    Need,
    Option,
    extensions_of,
    types_of,
)

_ENDS_IN_E: Final = "self.outputFile.lowerAscii().endsWith('.' + e)"


def extension_rule() -> ValidationRule:
    """The extension of an output fits its conversion type.

    One rule for all types reads each field once. Its text is the type and the path. It accepts a
    type that it does not know: the object was stored under a later CRD.
    """
    allowed = (f"{kind}:.*[.]({'|'.join(extensions)})" for kind, extensions in FORMATS.items())
    words = cel_map({kind: f"'{extensions_of(kind)}'" for kind in FORMATS})
    return ValidationRule(
        f"(self.conversionType + ':' + self.outputFile.lowerAscii())"
        f".matches('(?s)^({'|'.join(allowed)})$') || "
        f"!(self.conversionType in {cel_list(FORMATS)})",
        "outputFile must end in an extension of its conversionType",
        ".outputFile",
        f"'outputFile of ' + self.conversionType + ' must end in ' + {words}[self.conversionType]",
    )


def option_rules() -> list[ValidationRule]:
    """Which options belong to a type, their values, and which go together."""
    rows: dict[str, list[Option]] = {}
    for option in GRAMMAR:
        rows.setdefault(option.name, []).append(option)
    return [
        *map(_type_rule, rows),
        *(rule for of_name in rows.values() for rule in _value_rules(of_name)),
        *(_option_extension_rule(option) for option in GRAMMAR if option.extensions),
        *(_exclusive_rule(one, other) for one, other in EXCLUSIVE),
        *map(_need_rule, NEEDS),
    ]


def _with(name: str) -> tuple[str, str]:
    """The fields that an output with this option has."""
    return "options", f"options.{name}"


def _type_rule(name: str) -> ValidationRule:
    types = [kind for option in GRAMMAR if option.name == name for kind in option.types]
    return ValidationRule(
        f"self.conversionType in {cel_list(types)}",
        f"options.{name} belongs to {types_of(name)} only",
        f".options.{name}",
        given=_with(name),
    )


def _value_rules(options: list[Option]) -> list[ValidationRule]:
    """The values of the options of one name. Only some have other values for other types."""
    first = options[0]
    if all(option.kind == first.kind for option in options):
        message = f"options.{first.name} must be {first.kind.must_be}"
        return [ValidationRule(_cel_check("self", first.kind), message, at=("options", first.name))]
    return list(map(_value_rule_of_types, options))


def _value_rule_of_types(option: Option) -> ValidationRule:
    name = option.name
    return ValidationRule(
        f"!(self.conversionType in {cel_list(option.types)}) || "
        f"{_cel_check(f'self.options.{name}', option.kind)}",
        f"options.{name} of {in_words(option.types, 'and')} must be {option.kind.must_be}",
        f".options.{name}",
        given=_with(name),
    )


def _option_extension_rule(option: Option) -> ValidationRule:
    types = in_words(option.types, "and")
    return ValidationRule(
        f"!(self.conversionType in {cel_list(option.types)}) || "
        f"{cel_list(option.extensions)}.exists(e, {_ENDS_IN_E})",
        f"options.{option.name} of {types} {option.only_for}",
        f".options.{option.name}",
        given=_with(option.name),
    )


def _exclusive_rule(one: str, other: str) -> ValidationRule:
    return ValidationRule(
        f"!has(self.{other})",
        f"options.{other} does not go together with {one}; set one of them",
        f".{other}",
        given=(one,),
        at=("options",),
    )


def _need_rule(need: Need) -> ValidationRule:
    """The options exist if one of them does."""
    other_value = f"self.{need.option} != '{need.value}' || " if need.value else ""
    needed = f"has(self.{need.needed})"
    if need.needed_value:
        needed += f" && self.{need.needed} == '{need.needed_value}'"
    return ValidationRule(
        f"{other_value}({needed})",
        f"options.{need.option} {need.words}",
        f".{need.option}",
        given=(need.option,),
        at=("options",),
    )


def _cel_check(value: str, kind: Kind) -> str:
    """CEL that is true if the expression ``value`` is one of the values of ``kind``.

    The pattern is checked first: int() and duration() end in an error for other strings, and the
    API server would report that error in place of our message.
    """
    check = f"{value}.matches('{kind.pattern}')"
    if isinstance(kind, Size):
        check += f" && {value}.split('x').all(side, int(side) <= {kind.max_side})"
    if isinstance(kind, Time | Moment):
        # 1:02:03.5 as the Go duration 1h02m03.5s, 90 as 90s.
        seconds = f"duration({value}.replace(':', 'h', 1).replace(':', 'm', 1) + 's')"
        in_bounds = f"{seconds} <= duration('{kind.max_seconds}s')"
        if isinstance(kind, Moment):
            in_bounds = f"({value}.endsWith('%') || {in_bounds})"
        check += f" && {in_bounds}"
    if isinstance(kind, Time) and not kind.allows_zero:
        check += f" && {value}.matches('[1-9]')"
    if kind.integers is None:
        return f"type({value}) == string && {check}"
    if isinstance(kind, Choices):
        return f"(type({value}) == int ? {value} in {list(kind.numbers)} : {check})"
    low, high = kind.integers
    return f"(type({value}) == int ? {value} >= {low} && {value} <= {high} : {check})"
