"""Which ConversionJobs of the content pipeline own which outputs. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from conversion_operator.api import names
from conversion_operator.api.spec import ConversionJobSpec, OutputSpec
from conversion_operator.cluster.conversions import Conversion
from converter_gateway import naming, outputs
from converter_gateway.entries import to_entries
from converter_gateway.output_names import Source, bases
from converter_gateway.translate import ResponseBody, to_response


@dataclass(frozen=True, slots=True)
class Owner:
    """A ConversionJob of the content pipeline.

    ``outputs`` are the paths that it owns, in the order of the spec. They are unknown, and empty,
    while its profile is not resolved. ``claim`` is the digest in its name.
    """

    conversion: Conversion
    spec: ConversionJobSpec
    source: Source
    outputs: tuple[str, ...]
    claim: str
    generation: int

    @property
    def order(self) -> tuple[int, datetime]:
        """Of the owners of an output, the one with the highest order counts."""
        return self.generation, self.conversion.created

    def entries(self) -> list[ResponseBody]:
        """What responses say about each output."""
        return to_entries(to_response(self.conversion))


@dataclass(frozen=True, slots=True)
class OwnedOutput:
    """One output of an owner."""

    owner: Owner
    number: int

    @property
    def spec(self) -> OutputSpec:
        """What its owner was asked for."""
        return outputs.outputs_of(self.owner.conversion)[self.number]

    @property
    def entry(self) -> ResponseBody:
        """What responses say about it."""
        return self.owner.entries()[self.number]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about the outputs that a content may have.

    ``outputs`` has the latest owner of each path, ``claims`` the latest owner by the digest in its
    name. ``sources`` are files of contents, which no conversion may overwrite. ``generation`` is
    the highest one of the ConversionJobs for the same source.
    """

    outputs: Mapping[str, OwnedOutput] = field(default_factory=dict[str, OwnedOutput])
    claims: Mapping[str, Owner] = field(default_factory=dict[str, Owner])
    sources: Collection[str] = ()
    generation: int = 0


def know(owners: Iterable[Owner], sources: Collection[str] = (), generation: int = 0) -> Known:
    """Find the latest owners. Visits the owners."""
    found: dict[str, OwnedOutput] = {}
    claims: dict[str, Owner] = {}
    for owner in sorted(owners, key=lambda owner: owner.order):
        claims[owner.claim] = owner
        for number, path in enumerate(owner.outputs):
            found[path] = OwnedOutput(owner, number)
    return Known(found, claims, sources, generation)


def profile_claim(source: Source) -> str:
    """What the name of a ConversionJob with a profile is derived from."""
    return f"{source.content_id}\0{source.path}"


def owner_of(conversion: Conversion) -> Owner | None:
    """The conversion as the owner of its outputs. None: the pipeline did not create it.

    A dry run makes no file, so it owns none.
    """
    spec, parsed = conversion.spec, naming.parse_content_name(conversion.key.name)
    content_id = conversion.annotations.get(names.CONTENT_ID_ANNOTATION)
    if spec is None or content_id is None or parsed is None or conversion.dry_run:
        return None
    claim, generation = parsed
    source = Source(content_id, conversion.input_path)
    paths = outputs.paths_of(conversion)
    if spec.profile is not None:
        claims: tuple[str, ...] = (profile_claim(source),)
    else:
        claims = bases(source) if spec.outputs is not None else paths
    if claim not in map(naming.digest, claims):
        return None
    return Owner(conversion, spec, source, paths, claim, generation)
