"""Decides which conversions a content needs, and their names. Pure functions.

The name of a ConversionJob is derived from the path of its output. A source becomes the *owner* of
an output when a request creates this ConversionJob. The API server accepts each name once. So if
a.mov and a.avi need the same output, one of them becomes the owner, at whichever replica. The other
uses an output whose name contains its extension.

A retry, or a changed rule, needs another ConversionJob for the same output. The name of this
ConversionJob has the next generation number, and only a request for the same source creates it. We
do not delete and recreate the failed ConversionJob: this would lose its reason and log, and two
replicas that retry at the same time could delete each other's new ConversionJob. With generations,
both replicas try to create the same name, and one succeeds.

Limits: a source owns an output while the ConversionJob exists. If the ConversionJobs of a.mov are
deleted after their time to live, the next call for a.avi replaces the preview of a.mov. To avoid
this, the rules can extend the time to live, or keep the extension in the names of all outputs. An
output of a conversion that the pipeline did not create has no owner. The operator's reason PathBusy
still prevents two conversions from writing to the path at the same time.
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

_NAME_MAX_BYTES: Final = 255  # the limit of all common Linux file systems
_PATH_MAX_BYTES: Final = 1024  # the spec allows 1024 characters; 1024 bytes are never more
_NAME_MIN_BYTES: Final = 100


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a content. ``path`` starts at the root of the volume."""

    content_id: str
    path: str


@dataclass(frozen=True, slots=True)
class Content:
    """The request for one upload. ``file_path`` is the caller's path of ``source``."""

    source: Source
    content_type: str
    file_path: str


@dataclass(frozen=True, slots=True)
class PlannedConversion:
    """One conversion that a content needs. ``outputs`` are possible paths, preferred first."""

    source: Source
    recipe: Recipe
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OutputOwner:
    """The ConversionJob of the content pipeline that owns ``output``."""

    conversion: Conversion
    spec: ConversionJobSpec
    source: Source
    output: str
    generation: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen output of a planned conversion.

    ``owner`` is its existing ConversionJob. None: create one with this ``generation``.
    """

    output: str
    generation: int
    owner: OutputOwner | None = None


def plan(content: Content, rules: ContentRules) -> tuple[PlannedConversion, ...]:
    """The conversions that the rules list for the content. Empty if no rule matches.

    Raises ApiError 400 if the path is too long to name outputs in the same folder.
    """
    folder = posixpath.dirname(content.source.path)
    max_bytes = min(_NAME_MAX_BYTES, _PATH_MAX_BYTES - len(posixpath.join(folder, "").encode()))
    recipes = rules.recipes(content.content_type)
    if recipes and max_bytes < _NAME_MIN_BYTES:
        raise ApiError(400, "file_path: too long, no room for the names of its outputs")
    keep = rules.keep_extension is KeepExtension.ALWAYS
    return tuple(
        PlannedConversion(
            content.source,
            recipe,
            tuple(
                posixpath.join(folder, output)
                for output in _output_names(content.source, recipe.suffix, max_bytes, keep)
            ),
        )
        for recipe in recipes
    )


def split_name(name: str) -> tuple[str, str]:
    """Split ``my.a.mov`` into ``my.a`` and ``mov``. ``.a`` and ``a.`` have no extension."""
    stem, _, extension = name.rpartition(".")
    return (stem, extension) if extension and stem.strip(".") else (name, "")


def _output_names(source: Source, suffix: str, max_bytes: int, keep: bool) -> tuple[str, ...]:
    name = posixpath.basename(source.path)
    # The name with the mark is unique, even if the same file belongs to several contents.
    mark = naming.digest(f"{source.content_id}\0{source.path}")[:16]
    bases = [name, f"{name}_{mark}"] if keep else [split_name(name)[0], name, f"{name}_{mark}"]
    return tuple(dict.fromkeys(_shorten(base, suffix, max_bytes) for base in bases))


def _shorten(base: str, suffix: str, max_bytes: int) -> str:
    """Join base and suffix. If this exceeds ``max_bytes``, a hash replaces the end of the base.

    The result never equals the name of the source: a suffix begins with _ or -, and after the base
    the name of the source ends or has a dot.
    """
    if len((base + suffix).encode()) <= max_bytes:
        return base + suffix
    end = "-" + hashlib.sha256(base.encode()).hexdigest()[:16] + suffix
    # errors="ignore" removes a character whose bytes are cut.
    return base.encode()[: max_bytes - len(end)].decode(errors="ignore") + end


def owner_of(conversion: Conversion) -> OutputOwner | None:
    """The conversion as the owner of its output. None: the pipeline did not create it."""
    content_id = conversion.annotations.get(names.CONTENT_ID_ANNOTATION)
    output = next(iter(conversion.output_paths), "")
    generation = naming.content_generation(conversion.key.name, output)
    if conversion.spec is None or content_id is None or generation is None:
        return None
    return OutputOwner(
        conversion=conversion,
        spec=conversion.spec,
        source=Source(content_id, conversion.input_path),
        output=output,
        generation=generation,
    )


def latest_owners(owners: Iterable[OutputOwner]) -> dict[str, OutputOwner]:
    """Maps each output to its latest generation."""
    found: dict[str, OutputOwner] = {}
    for owner in owners:
        known = found.get(owner.output)
        if known is None or known.generation < owner.generation:
            found[owner.output] = owner
    return found


def choose_output(
    planned: PlannedConversion,
    owners: Mapping[str, OutputOwner],
    inputs: Collection[str],
    retry: Collection[Phase],
) -> Choice:
    """Choose an existing ConversionJob, or the output and generation of a new one.

    ``owners`` comes from :func:`latest_owners`. ``inputs`` are source files, which no conversion
    may overwrite. Conversions in a phase of ``retry`` start again. Raises ApiError 409 if every
    possible output belongs to another source.
    """
    # Keep an output that the source already owns, even if a preferred output has become free.
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
    # A change of the priority or the time to live needs no new conversion.
    return (owner.spec.conversion_type, owner.spec.options) == (
        planned.recipe.conversion_type,
        planned.recipe.options,
    )


def overall_status(statuses: Collection[str], planned: int) -> tuple[str, str]:
    """The status of a content, and a message.

    ``statuses`` are those of its conversions. ``planned`` is the number of conversions it needs.
    """
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
