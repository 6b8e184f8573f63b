"""Which conversions a piece of content needs and what they are called; pure functions.

An output is *claimed* by creating the ConversionJob whose name is made of the output's path. The
API server lets one request have a name, so of two sources with the same output (a.mov and a.avi)
one gets it, from whatever replica, and the other falls back to a name with its extension. The
next generation of a claim is the same name with the next number: for a retry or a changed rule,
made by the owner of the latest generation only. A failed ConversionJob stays as it is: deleting
and creating it again would lose its reason and log, and two replicas that retry at the same time
could delete each other's new one. As it is, both create the same name, and one of them did it.

The limits of this: a claim lasts as long as its ConversionJob. Once a.mov's are gone (their time
to live), a.avi's next call gets the plain name and replaces a.mov's preview. The rules can make
that time longer, or have every output keep its extension, which needs no memory at all. And
conversions that were not started here have no claims: they are told apart by PathBusy only.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conversion_operator.api import names
from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import Phase
from conversion_operator.cluster.parsing import parse_conversion
from converter_gateway import naming
from converter_gateway.errors import ApiError
from converter_gateway.rules import KeepExtension, Recipe, Rules
from converter_gateway.translate import phase_of

_LONGEST_NAME: Final = 255  # bytes, on every Linux file system
_LONGEST_PATH: Final = 1024  # characters, in a ConversionJob; bytes are never fewer
_SHORTEST_ROOM: Final = 100


@dataclass(frozen=True, slots=True)
class Source:
    """Whose conversions: a content's file, by its path from the root of the volume."""

    content_id: str
    path: str


@dataclass(frozen=True, slots=True)
class Content:
    """What was asked for; ``file_path`` is the caller's own way to write ``source.path``."""

    source: Source
    content_type: str
    file_path: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One conversion: what to make, and the outputs it may have, the best one first."""

    source: Source
    recipe: Recipe
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A ConversionJob of the pipeline."""

    body: Mapping[str, Any]
    source: Source
    output: str
    generation: int
    phase: Phase
    deleting: bool
    spec: ConversionJobSpec


@dataclass(frozen=True, slots=True)
class Choice:
    """The output of a planned conversion; ``claim`` is the ConversionJob if there is one."""

    output: str
    generation: int
    claim: Claim | None = None


def plan(content: Content, rules: Rules) -> tuple[Planned, ...]:
    """The conversions the rules want, none if no rule fits. ApiError 400 if no name has room."""
    folder = posixpath.dirname(content.source.path)
    room = min(_LONGEST_NAME, _LONGEST_PATH - len(posixpath.join(folder, "").encode()))
    recipes = rules.recipes(content.content_type)
    if recipes and room < _SHORTEST_ROOM:
        raise ApiError(400, "file_path: too long, the names of its outputs have no room")
    always = rules.keep_extension is KeepExtension.ALWAYS
    return tuple(
        Planned(
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
    """``my.holiday.mov`` → ``my.holiday`` and ``mov``. Hidden files and ``a.`` have no suffix."""
    stem, _, extension = name.rpartition(".")
    return (stem, extension) if extension and stem.strip(".") else (name, "")


def _names(source: Source, suffix: str, room: int, always: bool) -> tuple[str, ...]:
    name = posixpath.basename(source.path)
    # The last resort is nobody else's: not that of this file under another content id either.
    mark = naming.digest(f"{source.content_id}\0{source.path}")[:16]
    bases = [name, f"{name}_{mark}"] if always else [split_name(name)[0], name, f"{name}_{mark}"]
    return tuple(dict.fromkeys(_fit(base, suffix, room) for base in bases))


def _fit(base: str, suffix: str, room: int) -> str:
    """The base and the suffix in ``room`` bytes; what is cut off lives on in a hash.

    Never the source's own name: a suffix begins with _ or -, where a name has the dot or its end.
    """
    if len((base + suffix).encode()) <= room:
        return base + suffix
    end = "-" + hashlib.sha256(base.encode()).hexdigest()[:16] + suffix
    # A character that would be cut in two is left out.
    return base.encode()[: room - len(end)].decode(errors="ignore") + end


def claim_of(body: Mapping[str, Any]) -> Claim | None:
    """None for a ConversionJob that the pipeline did not make."""
    conversion = parse_conversion(body)
    content_id = (body["metadata"].get("annotations") or {}).get(names.CONTENT_ID_ANNOTATION)
    generation = naming.content_generation(conversion.key.name, conversion.output_path)
    if conversion.spec is None or content_id is None or generation is None:
        return None
    return Claim(
        body=body,
        source=Source(content_id, conversion.input_path),
        output=conversion.output_path,
        generation=generation,
        phase=phase_of(conversion),
        deleting=conversion.deleting,
        spec=conversion.spec,
    )


def latest(claims: Iterable[Claim]) -> dict[str, Claim]:
    """Output → its latest generation, whose source has the output."""
    found: dict[str, Claim] = {}
    for claim in claims:
        known = found.get(claim.output)
        if known is None or known.generation < claim.generation:
            found[claim.output] = claim
    return found


def choose(
    planned: Planned, owners: Mapping[str, Claim], inputs: Collection[str], retry: Collection[Phase]
) -> Choice:
    """The ConversionJob that there is, or the one to create.

    ``owners`` is :func:`latest` of the claims on its outputs, ``inputs`` are the files of all
    content, never to be replaced, ``retry`` the phases to start again. ApiError 409 if every
    output is another's.
    """
    # An output that is ours already comes first: a better one may have become free meanwhile.
    for output in planned.outputs:
        claim = owners.get(output)
        if claim is not None and claim.source == planned.source:
            if claim.deleting or claim.phase in retry or not _as_planned(claim, planned):
                return Choice(output, claim.generation + 1)
            return Choice(output, claim.generation, claim)
    for output in planned.outputs:
        if output not in owners and output not in inputs:
            return Choice(output, 1)
    raise ApiError(409, f"file_path: {planned.outputs[-1]} is the output of other content")


def _as_planned(claim: Claim, planned: Planned) -> bool:
    # Priority and time to live may be changed by anybody at any time: they make nothing new.
    return (claim.spec.conversion_type, claim.spec.options) == (
        planned.recipe.conversion_type,
        planned.recipe.options,
    )


def overall(statuses: Collection[str], planned: int) -> tuple[str, str]:
    """The status of the content and a sentence on it. ``planned`` is how many there should be."""
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
