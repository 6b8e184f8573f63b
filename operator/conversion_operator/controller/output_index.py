"""Finds the ConversionJobs that write a file."""

from __future__ import annotations

from collections.abc import Iterable

from conversion_operator.core.model import Conversion


class OutputIndex:
    """The uids of conversions by namespace and output path, in the order they became known."""

    def __init__(self) -> None:
        self._uids: dict[tuple[str, str], dict[str, None]] = {}

    def uids(self, namespace: str, path: str) -> Iterable[str]:
        """The conversions of a namespace that have this output."""
        return self._uids.get((namespace, path), ())

    def replace(self, known: Conversion | None, item: Conversion | None) -> None:
        """Take a change of a conversion: ``known`` becomes ``item``. None: it does not exist.

        A spec that cannot be read may be repaired.
        """
        before, after = _outputs(known), _outputs(item)
        if before == after:
            return
        if known:
            for output in before:
                uids = self._uids[output]
                uids.pop(known.key.uid)
                if not uids:
                    del self._uids[output]
        if item:
            for output in after:
                self._uids.setdefault(output, {})[item.key.uid] = None


def _outputs(conversion: Conversion | None) -> dict[tuple[str, str], None]:
    """The keys of a conversion in the index by output. Its spec may name a path twice."""
    if conversion is None:
        return {}
    return dict.fromkeys((conversion.key.namespace, path) for path in conversion.output_paths)
