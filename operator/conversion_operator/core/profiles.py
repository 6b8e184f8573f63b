"""What a ConversionProfile says for one input: its templates become paths."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from conversion_operator.api.profiles import (
    DEFAULTS,
    ConversionProfileSpec,
    OutputTemplate,
    split_extension,
)
from conversion_operator.api.spec import OutputSpec, collide, normal_path
from conversion_operator.api.status import ResolvedProfile
from conversion_operator.core.text import head
from media_converter.options import FORMATS, extensions_of, output_files

_VARIABLE: Final = re.compile(r"\{(dir|name|ext)\}")
_PATH_MAX: Final = 1024
_SHOWN_MAX: Final = 200
"""How much of a path a message shows, in bytes."""


class ProfileInvalid(Exception):
    """The profile makes no valid outputs for this input. The text says which output, and why."""


@dataclass(frozen=True, slots=True)
class _Input:
    """The parts of the path of an input. ``folder`` is empty if it is in the root of the volume."""

    path: str
    folder: str
    name: str
    extension: str

    @classmethod
    def of(cls, path: str) -> _Input:
        folder, _, file = normal_path(path).lstrip("/").rpartition("/")
        return cls(path, folder, *split_extension(file))


def resolve(profile: str, spec: ConversionProfileSpec, input_file: str) -> ResolvedProfile:
    """The outputs and the defaults of a profile for one input. Raises ProfileInvalid.

    The rules of the CRD check a profile without an input. This function checks the result, with
    the rules that the CRD has for the outputs of a ConversionJob.
    """
    source = _Input.of(input_file)
    outputs: list[OutputSpec] = []
    for number, template in enumerate(spec.outputs):
        where = f"outputs[{number}] of ConversionProfile {profile}"
        try:
            outputs.append(_resolve_output(template, source))
        except ProfileInvalid as error:
            raise ProfileInvalid(f"{where} {error}") from None
    for second, first in itertools.product(range(len(outputs)), repeat=2):
        pairs = itertools.product(outputs[first].paths(), outputs[second].paths())
        if first < second and (
            found := next(filter(None, itertools.starmap(_colliding, pairs)), None)
        ):
            raise ProfileInvalid(
                f"outputs[{first}] and outputs[{second}] of ConversionProfile {profile} have the "
                "same path for this input, or one is a folder of the other: correct one of the "
                f"templates. The paths are {_shown(found[0])} and {_shown(found[1])}"
            )
    if all(output.optional for output in outputs):
        raise ProfileInvalid(
            f"all outputs of ConversionProfile {profile} are optional: at least one must not be"
        )
    return ResolvedProfile(outputs=outputs, **{name: getattr(spec, name) for name in DEFAULTS})


def _resolve_output(template: OutputTemplate, source: _Input) -> OutputSpec:
    path = _fill(template.output_file, source)
    parts = path.split("/")
    if "" in parts or "." in parts or ".." in parts:
        raise ProfileInvalid(
            f"has the path {_shown(path)} for this input, which has an empty folder or leaves the "
            "volume: correct the template"
        )
    if len(path) > _PATH_MAX:
        raise ProfileInvalid(
            f"has a path of {len(path)} characters for this input, and at most {_PATH_MAX} are "
            "allowed: shorten the template, or the name of the input"
        )
    kind = template.conversion_type
    files = map(normal_path, output_files(kind, path))
    if any(collide(file, normal_path(source.path)) for file in files):
        raise ProfileInvalid(
            "has the path of the input, or one of the two paths is inside the other; the input is "
            "never overwritten: add something to the template, such as {name}_new"
        )
    if not any(path.lower().endswith(f".{extension}") for extension in FORMATS[kind]):
        raise ProfileInvalid(
            f"has the path {_shown(path)} for this input, but the outputFile of {kind} must end "
            f"in {extensions_of(kind)}: write one of these in the template"
        )
    try:
        return OutputSpec(
            conversion_type=kind,
            output_file=path,
            options=template.options,
            optional=template.optional,
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ProfileInvalid(f"has an invalid path for this input: {problem}") from None


def _fill(template: str, source: _Input) -> str:
    """The template with the parts of the input, from the root of the volume, without leading slash.

    What is filled in is not searched for variables again: a file may be named ``{dir}.mov``. For an
    input in the root of the volume, ``{dir}`` is empty, and so is the folder that it stands for.
    """
    if "{ext}" in template and not source.extension:
        raise ProfileInvalid(
            f"uses {{ext}}, but the input {_shown(source.path)} has no extension: write an "
            "extension in the template, or rename the input"
        )
    values = {"dir": source.folder, "name": source.name, "ext": source.extension}
    folders = template.split("/")
    if not source.folder:
        folders = [folder for folder in folders if folder != "{dir}"]
    filled = "/".join(folders)
    return _VARIABLE.sub(lambda match: values[match[1]], filled).lstrip("/")


def _colliding(first: str, second: str) -> tuple[str, str] | None:
    return (first, second) if collide(first, second) else None


def _shown(path: str) -> str:
    return head(path, _SHOWN_MAX)
