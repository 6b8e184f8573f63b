"""Which conversions a piece of content needs, and their names. Pure functions.

A request becomes the *owner* of an output by creating the ConversionJob whose name is derived from
the output's path. The API server accepts each name once. So if two sources have the same output
(a.mov and a.avi), one of them gets it, whichever replicas they call, and the other falls back to a
name with its extension.

A retry, or a changed rule, needs another ConversionJob for the same output. Its name has the next
generation number, and only the owner of the latest generation creates it. A failed ConversionJob
stays as it is. Deleting and recreating it would lose its reason and log, and two replicas that
retry at the same time could delete each other's new one. With generations, both try to create the
same name and one succeeds.

Limits: ownership lasts as long as the ConversionJob. When those of a.mov are deleted after their
time to live, the next call for a.avi gets the plain name and replaces a.mov's preview. The rules
can extend the time to live, or keep the extension in every output, which needs no ownership. An
output of a conversion that was started elsewhere has no owner; only PathBusy guards it.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from conversion_operator.api import names
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import Conversion
from converter_gateway import naming
from converter_gateway.errors import ApiError
from converter_gateway.rules import ContentRules, KeepExtension, Recipe
from converter_gateway.translate import phase_of

_LONGEST_NAME: Final = 255  # bytes, on all common Linux file systems
_LONGEST_PATH: Final = 1024  # characters in a ConversionJob; counting bytes is on the safe side
_SHORTEST_ROOM: Final = 100


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a content. ``path`` is its path from the root of the volume."""

    content_id: str
    path: str


@dataclass(frozen=True, slots=True)
class Content:
    """A request. ``file_path`` is ``source.path`` as the caller writes it."""

    source: Source
    content_type: str
    file_path: str


@dataclass(frozen=True, slots=True)
class PlannedConversion:
    """One conversion that a content needs. ``outputs`` are its possible outputs, best first."""

    source: Source
    recipe: Recipe
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutputOwner:
    """The ConversionJob of the content pipeline that an output belongs to."""

    conversion: Conversion
    spec: ConversionJobSpec
    source: Source
    output: str
    generation: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The output of a planned conversion. ``owner`` is None if a ConversionJob must be created."""

    output: str
    generation: int
    owner: OutputOwner | None = None


def plan(content: Content, rules: ContentRules) -> tuple[PlannedConversion, ...]:
    """The conversions that the rules name. None if no rule matches.

    Raises ApiError 400 if the path leaves too little room for the names of outputs.
    """
    folder = posixpath.dirname(content.source.path)
    room = min(_LONGEST_NAME, _LONGEST_PATH - len(posixpath.join(folder, "").encode()))
    recipes = rules.recipes(content.content_type)
    if recipes and room < _SHORTEST_ROOM:
        raise ApiError(400, "file_path: too long, no room for the names of its outputs")
    always = rules.keep_extension is KeepExtension.ALWAYS
    return tuple(
        PlannedConversion(
            content.source,
            recipe,
            tuple(
                posixpath.join(folder, output)
                for output in _names(content.source, recipe.suffix, room, always)
            ),
        )
        for recipe in recipes
    )


def split_name(name: str) -> tuple[str, str]:
    """``my.holiday.mov`` → ``my.holiday`` and ``mov``. ``.hidden`` and ``a.`` have no extension."""
    stem, _, extension = name.rpartition(".")
    return (stem, extension) if extension and stem.strip(".") else (name, "")


def _names(source: Source, suffix: str, room: int, always: bool) -> tuple[str, ...]:
    name = posixpath.basename(source.path)
    # The last name is unique, even if the same file belongs to several contents.
    mark = naming.digest(f"{source.content_id}\0{source.path}")[:16]
    bases = [name, f"{name}_{mark}"] if always else [split_name(name)[0], name, f"{name}_{mark}"]
    return tuple(dict.fromkeys(_fit(base, suffix, room) for base in bases))


def _fit(base: str, suffix: str, room: int) -> str:
    """The base and the suffix, in at most ``room`` bytes. A hash replaces what is cut off.

    The result never is the source's own name: a suffix begins with _ or -, and at that place the
    source's name has a dot or ends.
    """
    if len((base + suffix).encode()) <= room:
        return base + suffix
    end = "-" + hashlib.sha256(base.encode()).hexdigest()[:16] + suffix
    # Leave out a character that would be cut in two.
    return base.encode()[: room - len(end)].decode(errors="ignore") + end


def owner_of(conversion: Conversion) -> OutputOwner | None:
    """The conversion as the owner of its output. None if the pipeline did not create it."""
    content_id = conversion.annotations.get(names.CONTENT_ID_ANNOTATION)
    generation = naming.content_generation(conversion.key.name, conversion.output_path)
    if conversion.spec is None or content_id is None or generation is None:
        return None
    return OutputOwner(
        conversion=conversion,
        spec=conversion.spec,
        source=Source(content_id, conversion.input_path),
        output=conversion.output_path,
        generation=generation,
    )


def latest(owners: Iterable[OutputOwner]) -> dict[str, OutputOwner]:
    """Maps each output to its latest generation."""
    found: dict[str, OutputOwner] = {}
    for owner in owners:
        known = found.get(owner.output)
        if known is None or known.generation < owner.generation:
            found[owner.output] = owner
    return found


def choose(
    planned: PlannedConversion,
    owners: Mapping[str, OutputOwner],
    inputs: Collection[str],
    retry: Collection[Phase],
) -> Choice:
    """Choose the existing ConversionJob, or the output and generation of the one to create.

    ``owners`` comes from :func:`latest`. ``inputs`` are the files of all contents, which must not
    be overwritten. ``retry`` are the phases to start again. Raises ApiError 409 if every possible
    output belongs to another source.
    """
    # An output that this source owns already comes first. A better one may have become free.
    for output in planned.outputs:
        owner = owners.get(output)
        if owner is not None and owner.source == planned.source:
            phase, deleting = phase_of(owner.conversion), owner.conversion.deleting
            if deleting or phase in retry or not _is_as_planned(owner, planned):
                return Choice(output, owner.generation + 1)
            return Choice(output, owner.generation, owner)
    for output in planned.outputs:
        if output not in owners and output not in inputs:
            return Choice(output, 1)
    raise ApiError(409, f"file_path: {planned.outputs[-1]} is the output of other content")


def _is_as_planned(owner: OutputOwner, planned: PlannedConversion) -> bool:
    # Users may change the priority and the time to live. They do not change the output.
    return (owner.spec.conversion_type, owner.spec.options) == (
        planned.recipe.conversion_type,
        planned.recipe.options,
    )


def overall(statuses: Collection[str], planned: int) -> tuple[str, str]:
    """The status of the content, and a message. ``planned`` is how many conversions it needs."""
    total = len(statuses)
    count = {status: sum(s == status for s in statuses) for status in set(statuses)}
    if running := count.get("running", 0):
        return "running", f"{running} of {total} conversions have not ended"
    if failed := count.get("failed", 0):
        return "failed", f"{failed} of {total} conversions failed; ?retry=failed starts them again"
    if total < planned:
        return "incomplete", f"{total} of {planned} conversions exist; POST it again to complete it"
    if cancelled := count.get("cancelled", 0):
        return "cancelled", f"{cancelled} of {total} conversions were cancelled"
    return "completed", f"{total} of {total} conversions are complete"
