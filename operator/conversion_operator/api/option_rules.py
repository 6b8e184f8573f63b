"""CEL rules about the extension and the options of one output."""

from __future__ import annotations

from conversion_operator.api.cel import ValidationRule, cel_list
from media_converter.option_values import Choices, Moment, Size, Time, in_words
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


def extension_rules() -> list[ValidationRule]:
    """One rule for each conversion type: the extension of its output."""
    return [
        ValidationRule(
            f"self.conversionType != '{kind}' || "
            f"{cel_list(extensions)}.exists(e, "
            "self.outputFile.lowerAscii().endsWith('.' + e))",
            f"outputFile of {kind} must end in {extensions_of(kind)}",
            ".outputFile",
        )
        for kind, extensions in FORMATS.items()
    ]


def option_rules() -> list[ValidationRule]:
    """Which options belong to a type, their values, and which go together."""
    names = dict.fromkeys(option.name for option in GRAMMAR)
    limited = [option for option in GRAMMAR if option.extensions]
    return [
        *map(_type_rule, names),
        *map(_value_rule, GRAMMAR),
        *map(_option_extension_rule, limited),
        *(_exclusive_rule(one, other) for one, other in EXCLUSIVE),
        *map(_need_rule, NEEDS),
    ]


def _type_rule(name: str) -> ValidationRule:
    types = [kind for option in GRAMMAR if option.name == name for kind in option.types]
    return ValidationRule(
        f"{_absent(name)} || self.conversionType in {cel_list(types)}",
        f"options.{name} belongs to {types_of(name)} only",
        f".options.{name}",
    )


def _value_rule(option: Option) -> ValidationRule:
    name, types = option.name, in_words(option.types, "and")
    of = "" if types == types_of(name) else f" of {types}"
    return ValidationRule(
        f"{_absent(name)} || !(self.conversionType in {cel_list(option.types)}) || "
        f"{_cel_check(option)}",
        f"options.{name}{of} must be {option.kind.must_be}",
        f".options.{name}",
    )


def _option_extension_rule(option: Option) -> ValidationRule:
    types = in_words(option.types, "and")
    return ValidationRule(
        f"{_absent(option.name)} || !(self.conversionType in {cel_list(option.types)}) || "
        f"{cel_list(option.extensions)}.exists(e, self.outputFile.lowerAscii().endsWith('.' + e))",
        f"options.{option.name} of {types} {option.only_for}",
        f".options.{option.name}",
    )


def _exclusive_rule(one: str, other: str) -> ValidationRule:
    return ValidationRule(
        f"{_absent(one)} || !has(self.options.{other})",
        f"options.{other} does not go together with {one}; set one of them",
        f".options.{other}",
    )


def _need_rule(need: Need) -> ValidationRule:
    """The options exist if one of them does."""
    has_value = f" || self.options.{need.option} != '{need.value}'" if need.value else ""
    needed = f"has(self.options.{need.needed})"
    if need.needed_value:
        needed += f" && self.options.{need.needed} == '{need.needed_value}'"
    return ValidationRule(
        f"{_absent(need.option)}{has_value} || ({needed})",
        f"options.{need.option} {need.words}",
        f".options.{need.option}",
    )


def _absent(name: str) -> str:
    return f"!has(self.options) || !has(self.options.{name})"


def _cel_check(option: Option) -> str:
    """True for the values that the row accepts.

    The pattern is checked first: int() and duration() end in an error for other strings, and the
    API server would report that error in place of our message.
    """
    value, kind = f"self.options.{option.name}", option.kind
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
