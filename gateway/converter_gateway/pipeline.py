"""Decides which ConversionJobs a content needs, and their names. Pure functions.

The name of a ConversionJob is derived from its *claim*: the base of its outputs. A source becomes
the *owner* of outputs when a request creates this ConversionJob. The API server accepts each name
once, and the names of one claim are numbered: the *generation*. A request that creates the next
generation has read those before. So if a.mov and a.avi need the same output, one of them becomes
the owner, at whichever replica. The other uses a base that contains its extension.

A retry, or a changed rule, needs another ConversionJob for the same outputs. It makes only the
outputs that need it, and has the next generation. We do not delete and recreate the failed
ConversionJob: this would lose its reason and log, and two replicas that retry at the same time
could delete each other's new ConversionJob. With generations, both replicas try to create the same
name, and one succeeds.

A rule of the form of earlier releases needs a ConversionJob for each output. Its claim is the path
of the output. The outputs of a profile are known when the operator has read it, so its claim is the
source.

Limits: a source owns an output while the ConversionJob exists. If the ConversionJobs of a.mov are
deleted after their time to live, the next call for a.avi replaces the preview of a.mov. To avoid
this, the rules can extend the time to live, or keep the extension in the names of all outputs.
Different claims can lead to one path, such as a_x and _thumb.jpg, and a and _x_thumb.jpg. Such an
owner is found in the store, which may be some milliseconds late. The templates of a profile may
name the outputs of another source. An output of a conversion that the pipeline did not create has
no owner. The operator's reason PathBusy still prevents two conversions from writing to a path at
the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from conversion_operator.api.spec import ConversionJobSpec
from conversion_operator.api.status import Phase
from converter_gateway import naming
from converter_gateway.caller_paths import CallerPaths
from converter_gateway.errors import ApiError
from converter_gateway.output_names import Source, bases, check_room, output_path
from converter_gateway.owners import Known, OwnedOutput, profile_claim
from converter_gateway.rules import ContentRules, JobRecipe, KeepExtension, Recipe
from converter_gateway.translate import phase_of
from media_converter.options import output_files

_STATUSES: Final = {Phase.FAILED: "failed", Phase.CANCELLED: "cancelled"}
"""The phases that a request may retry, and the status of an output in it."""


@dataclass(frozen=True, slots=True)
class Content:
    """The request for one upload. ``file_path`` is the caller's path of ``source``.

    ``paths`` is how the caller names outputs beside it.
    """

    source: Source
    content_type: str
    file_path: str
    paths: CallerPaths = field(default_factory=CallerPaths)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Possible paths of all outputs of a planned ConversionJob, and the claim to them.

    ``files`` has the paths of all files of each output.
    """

    claim: str
    outputs: tuple[str, ...]
    files: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One ConversionJob that a content needs. ``candidates`` are possible, preferred first."""

    source: Source
    recipe: JobRecipe
    candidates: tuple[Candidate, ...]

    @property
    def count(self) -> int:
        """How many entries it has in a response at least."""
        return len(self.recipe.outputs) or 1


@dataclass(frozen=True, slots=True)
class NewJob:
    """A ConversionJob to create."""

    name: str
    spec: ConversionJobSpec


@dataclass(frozen=True, slots=True)
class Choice:
    """How a content gets the outputs of a planned ConversionJob, in their order.

    ``outputs`` are existing ones. None: ``new`` makes it.
    """

    outputs: tuple[OwnedOutput | None, ...]
    new: NewJob | None = None


def plan(content: Content, rules: ContentRules) -> tuple[PlannedJob, ...]:
    """The ConversionJobs that the rules need for the content. Empty if no rule matches.

    Raises ApiError 400 if the path is too long to name outputs in the same folder.
    """
    recipes = rules.jobs(content.content_type)
    keep = rules.keep_extension is KeepExtension.ALWAYS
    return tuple(
        PlannedJob(content.source, recipe, _candidates(content.source, recipe, keep))
        for recipe in recipes
    )


def _candidates(source: Source, recipe: JobRecipe, keep: bool) -> tuple[Candidate, ...]:
    if recipe.profile is not None:
        return (Candidate(profile_claim(source), ()),)
    check_room(source)
    possible = bases(source)
    if keep and len(possible) > 2:
        possible = possible[1:]  # without the one that has no extension
    found = []
    for base in possible:
        paths = tuple(output_path(base, output.suffix) for output in recipe.outputs)
        pairs = zip(recipe.outputs, paths, strict=True)
        files = tuple(output_files(output.conversion_type, path) for output, path in pairs)
        found.append(Candidate(paths[0] if recipe.single else base, paths, files))
    return tuple(found)


def choose_job(planned: PlannedJob, known: Known, retry: Collection[Phase]) -> Choice:
    """Choose existing outputs, and the ConversionJob that makes the others.

    Outputs that ended in a phase of ``retry`` are made again. Raises ApiError 409 if all possible
    outputs belong to other sources.
    """
    if planned.recipe.profile is not None:
        return _choose_profile(planned, known, retry)
    owned = tuple(_owned(planned, known, number) for number in range(planned.count))
    kept = tuple(
        output if output and _is_good(output, recipe, retry) else None
        for output, recipe in zip(owned, planned.recipe.outputs, strict=True)
    )
    if all(kept):
        return Choice(kept)
    missing = [number for number, output in enumerate(kept) if output is None]
    candidate = _choose_candidate(planned, known, owned, missing)
    paths = {n: _path(owned[n]) or candidate.outputs[n] for n in missing}
    before = [
        known.outputs[path].owner.generation for path in paths.values() if path in known.outputs
    ]
    name = _next_name(candidate.claim, known, before)
    made = [planned.recipe.outputs[number].output(paths[number]) for number in missing]
    if all(output.optional for output in made):
        # A conversion must have one output that is not optional. These are all that it is for.
        made = [output.model_copy(update={"optional": None}) for output in made]
    return Choice(kept, NewJob(name, planned.recipe.spec(planned.source.path, made)))


def _choose_profile(planned: PlannedJob, known: Known, retry: Collection[Phase]) -> Choice:
    """A profile makes all outputs or none: its outputs may be unknown."""
    (candidate,) = planned.candidates
    owner = known.claims.get(naming.digest(candidate.claim))
    if owner is not None and owner.source == planned.source:
        as_planned = owner.spec.profile == planned.recipe.profile
        again = owner.conversion.deleting or phase_of(owner.conversion) in retry
        if as_planned and not again:
            return Choice(tuple(OwnedOutput(owner, n) for n in range(len(owner.entries()))))
    name = _next_name(candidate.claim, known, [known.generation])
    return Choice((None,), NewJob(name, planned.recipe.spec(planned.source.path)))


def _owned(planned: PlannedJob, known: Known, number: int) -> OwnedOutput | None:
    """The output that the source already owns, even if a preferred one has become free."""
    for candidate in planned.candidates:
        output = known.outputs.get(candidate.outputs[number])
        if output is not None and output.owner.source == planned.source:
            return output
    return None


def _path(output: OwnedOutput | None) -> str | None:
    return output.owner.outputs[output.number] if output else None


def _is_good(output: OwnedOutput, recipe: Recipe, retry: Collection[Phase]) -> bool:
    """Whether the existing output is the one that is needed.

    A change of optional, the priority or the time to live needs no new conversion.
    """
    spec = output.spec
    if (spec.conversion_type, spec.options) != (recipe.conversion_type, recipe.options):
        return False
    again = {_STATUSES[phase] for phase in retry}
    return not output.owner.conversion.deleting and output.entry["status"] not in again


def _choose_candidate(
    planned: PlannedJob,
    known: Known,
    owned: Sequence[OwnedOutput | None],
    missing: Sequence[int],
) -> Candidate:
    """The first candidate whose paths are free, preferably one of which the source owns a path."""
    mine = {_path(output) for output in owned if output}
    preferred = sorted(planned.candidates, key=lambda one: not mine.intersection(one.outputs))
    for candidate in preferred:
        free = [number for number in missing if owned[number] is None]
        paths = [path for number in free for path in candidate.files[number]]
        if not any(path in known.outputs or path in known.sources for path in paths):
            return candidate
    path = planned.candidates[-1].outputs[missing[0]]
    raise ApiError(409, f"file_path: {path} is the output of other content")


def _next_name(claim: str, known: Known, before: Collection[int]) -> str:
    """The name of the next generation. ``before`` are generations of the outputs themselves."""
    owner = known.claims.get(naming.digest(claim))
    generation = max([owner.generation if owner else 0, *before], default=0) + 1
    return naming.content_name(claim, generation)
