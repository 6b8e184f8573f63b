"""CEL rules about the paths of the input and of the outputs."""

from __future__ import annotations

from typing import Final

from conversion_operator.api.cel import ValidationRule, cel_string
from conversion_operator.api.spec import NOT_SAME_PATH, NOT_SAME_VTT, ONE_REQUIRED, PATH_PATTERN
from media_converter.contract import MAX_OUTPUTS, ConversionType
from media_converter.forbidden_paths import (
    FORBIDDEN_CHARACTERS,
    LOG_FOLDER_PATTERN,
    NO_FORBIDDEN_CHARACTERS,
    NOT_IN_LOG_FOLDER,
)

_STORYBOARD: Final = ConversionType.VIDEO_STORYBOARD
_OUTPUTS: Final = ("outputs",)
_EXAMPLES: Final = {"inputFile": "input/holiday.mov", "outputFile": "output/holiday.mp4"}


def path_rules(name: str) -> list[ValidationRule]:
    """Rules on the path in this field."""
    example = _EXAMPLES[name]
    checks = {
        f"self.matches({cel_string(PATH_PATTERN)})": f"must be the path of a file, such as "
        f"{example}, without // and without / at its end",
        "!self.split('/').exists(part, part == '..' || part == '.')": "must not contain . or .. as "
        "a folder; use the plain path from the root of the shared volume",
        f"!self.matches('{_forbidden_characters()}')": NO_FORBIDDEN_CHARACTERS,
        f"!self.lowerAscii().matches({cel_string(LOG_FOLDER_PATTERN)})": NOT_IN_LOG_FOLDER,
    }
    return [ValidationRule(check, f"{name} {says}", at=(name,)) for check, says in checks.items()]


def _from_root(path: str) -> str:
    """CEL for a path with its leading slash. Other rules reject doubled slashes, . and .."""
    return f"({path}.startsWith('/') ? {path} : '/' + {path})"


def input_rules() -> list[ValidationRule]:
    """Rules on several fields: the input and the outputs together."""
    source = _from_root("self.inputFile")
    is_input = "must not be the inputFile; the input is never changed"
    is_vtt = f"the .vtt file of a {_STORYBOARD} {is_input}"
    return [
        ValidationRule(
            f"{source} != {_from_root('self.outputFile')}", f"outputFile {is_input}", ".outputFile"
        ).if_set("outputFile"),
        ValidationRule(
            f"!self.outputs.exists(o, {_from_root('o.outputFile')} == {source})",
            f"the outputFile of an output {is_input}",
            ".outputs",
            f"'the outputFile of an output {is_input}: ' + self.inputFile",
        ).if_set("outputs"),
        ValidationRule(
            f"{_is_no_storyboard('self')} || {source} != {_vtt('self.outputFile')}",
            is_vtt,
            ".outputFile",
        ).if_set("conversionType", "outputFile"),
        ValidationRule(
            f"self.outputs.all(o, {_is_no_storyboard('o')} || {source} != {_vtt('o.outputFile')})",
            is_vtt,
            ".outputs",
        ).if_set("outputs"),
        *outputs_rules(),
    ]


def outputs_rules() -> list[ValidationRule]:
    """Rules on the outputs together."""
    return [
        *map(_distinct_rule, range(1, MAX_OUTPUTS)),
        *map(_distinct_vtt_rule, range(1, MAX_OUTPUTS)),
        ValidationRule(
            f"self.all(o, {_is_no_storyboard('o')} || !self.exists(other, "
            f"{_from_root('other.outputFile')}.startsWith({_vtt('o.outputFile')} + '/')))",
            f"the .vtt file of a {_STORYBOARD} must not be a folder of another output",
            at=_OUTPUTS,
        ),
        ValidationRule(
            "self.exists(o, !has(o.optional) || !o.optional)", ONE_REQUIRED, at=_OUTPUTS
        ),
    ]


def _distinct_rule(number: int) -> ValidationRule:
    """One item has another path than those before it, and no path is a folder of the other.

    Each item has a rule of its own. A messageExpression with the number would cost too much.
    """
    this, earlier = (_from_root(f"self[{n}].outputFile") for n in (number, "other"))
    differ = f"{this} != {earlier}"
    no_folder = f"!{this}.startsWith({earlier} + '/') && !{earlier}.startsWith({this} + '/')"
    return ValidationRule(
        f"self.size() <= {number} || {[*range(number)]}.all(other, {differ} && {no_folder})",
        f"outputs[{number}] {NOT_SAME_PATH} as an earlier output, and neither may be a folder of "
        "the other",
        at=_OUTPUTS,
    )


def _distinct_vtt_rule(number: int) -> ValidationRule:
    """A storyboard has another WebVTT file than those before it.

    No other type has an output with this extension.
    """
    this = f"self[{number}]"
    other = "self[other]"
    return ValidationRule(
        f"self.size() <= {number} || {_is_no_storyboard(this)} || "
        f"{[*range(number)]}.all(other, {_is_no_storyboard(other)} || "
        f"{_vtt(this + '.outputFile')} != {_vtt(other + '.outputFile')})",
        f"outputs[{number}] {NOT_SAME_VTT} as an earlier output",
        at=_OUTPUTS,
    )


def _is_no_storyboard(output: str) -> str:
    return f"{output}.conversionType != '{_STORYBOARD}'"


def _vtt(path: str) -> str:
    """CEL for the path of the WebVTT file of a storyboard, with a leading slash."""
    stem = f"({path}.contains('.') ? {path}.substring(0, {path}.lastIndexOf('.')) : {path})"
    return f"(({path}.startsWith('/') ? '' : '/') + {stem} + '.vtt')"


def _forbidden_characters() -> str:
    """A class of RE2, with the escapes of a string in CEL. The pattern excludes the zero byte."""
    ranges = (f"\\U{first or 1:08x}-\\U{last:08x}" for first, last in FORBIDDEN_CHARACTERS)
    return f"[{''.join(ranges)}]"
