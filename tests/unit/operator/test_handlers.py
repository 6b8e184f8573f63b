"""Which events of kopf are parsed."""

from __future__ import annotations

import kopf
import pytest

from conversion_operator.cluster.objects import Body, WatchEvent
from conversion_operator.controller.handlers import _settings, is_known
from conversion_operator.controller.store import Store
from tests.unit.operator.builders import UID, conversion


@pytest.mark.parametrize(
    ("kind", "uid", "version", "known"),
    [
        ("ADDED", UID, "1", True),  # the list of the operator has shown it
        ("MODIFIED", UID, "1", True),
        ("MODIFIED", UID, "2", False),
        ("ADDED", "another", "1", False),
        ("DELETED", UID, "1", False),
    ],
)
def test_a_version_that_a_list_has_shown_is_not_parsed_again(
    kind: str, uid: str, version: str, known: bool
) -> None:
    store = Store(lambda _: None)
    store.update(conversion())
    body: Body = {"metadata": {"uid": uid, "resourceVersion": version}}
    assert is_known(store, WatchEvent(kind, version, body)) is known


def test_an_event_that_kopf_could_not_identify_stops_nothing() -> None:
    store = Store(lambda _: None)
    store.update(conversion())
    assert not is_known(store, WatchEvent("ADDED", "1", {}))


def test_kopf_copies_no_object_to_compare_it_later() -> None:
    """No handler needs the difference. By default, kopf copies the whole object for each event."""
    storage = _settings().persistence.diffbase_storage
    body = kopf.Body({"spec": {"inputFile": "a"}, "metadata": {"labels": {"a": "b"}}})
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
