"""Which ConversionJobs of one namespace belong to which content. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from converter_gateway.records import ContentPart, Record


class ContentIndex:
    """The names of the ConversionJobs of the content pipeline, by what callers look for."""

    def __init__(self) -> None:
        self._parts: dict[str, set[str]] = {}
        self._outputs: dict[str, set[str]] = {}
        self._claims: dict[str, set[str]] = {}
        self._sources: Counter[str] = Counter()

    def add(self, name: str, content: ContentPart) -> None:
        """A ConversionJob belongs to a content."""
        self._parts.setdefault(content.content_id, set()).add(name)
        self._claims.setdefault(content.claim, set()).add(name)
        for output in content.outputs:
            self._outputs.setdefault(output, set()).add(name)
        self._sources[content.source_path] += 1

    def remove(self, name: str, content: ContentPart) -> None:
        """It no longer does."""
        _discard(self._parts, content.content_id, name)
        _discard(self._claims, content.claim, name)
        for output in set(content.outputs):
            _discard(self._outputs, output, name)
        self._sources[content.source_path] -= 1
        if not self._sources[content.source_path]:
            del self._sources[content.source_path]

    def of(self, content_id: str) -> frozenset[str]:
        """The names of the ConversionJobs of a content."""
        return frozenset(self._parts.get(content_id, ()))

    def writers(self, output: str) -> frozenset[str]:
        """The names of those that have this output."""
        return frozenset(self._outputs.get(output, ()))

    def claimants(self, claim: str) -> frozenset[str]:
        """The names of those with this digest of a claim."""
        return frozenset(self._claims.get(claim, ()))

    def is_source(self, path: str) -> bool:
        """True if a content has this file as its source."""
        return self._sources[path] > 0


def latest_parts(
    parts: Iterable[tuple[Record, ContentPart]],
) -> list[tuple[Record, ContentPart, int]]:
    """The latest owner of each output of a content, sorted by source and output.

    The number is that of the output. A ConversionJob whose outputs are unknown has one.
    """
    latest: dict[str, tuple[Record, ContentPart, int]] = {}
    claims: dict[str, str] = {}
    ordered = sorted(parts, key=lambda pair: pair[1].order)
    for record, part in ordered:
        claims[part.claim] = record.name
    for record, part in ordered:
        if part.whole and claims[part.claim] != record.name:
            continue
        # No path is empty.
        for number, output in enumerate(part.outputs or ("",)):
            latest[output or record.name] = (record, part, number)
    return sorted(latest.values(), key=_by_path)


def _by_path(found: tuple[Record, ContentPart, int]) -> tuple[str, str]:
    _, part, number = found
    return part.source_path, part.outputs[number] if part.outputs else ""


def _discard(index: dict[str, set[str]], key: str, name: str) -> None:
    index[key].discard(name)
    if not index[key]:
        del index[key]
