"""The order, the pages and the tokens of lists, and what a retry is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.api.status import Phase
from conversion_operator.cluster.conversions import parse_conversion
from converter_gateway.listing import Filter, Listing, decode_token, encode_token, key_of
from converter_gateway.records import Record, record_of
from converter_gateway.retry import retry_of
from kubectl_conversion import model
from kubectl_conversion.retry import retry_of as retry_of_the_plugin
from tests.component.support.tools import conversion_job

KINDS = ("video_to_mp4", "audio_to_mp3")


def body(
    name: str, second: int = 0, phase: str = "", ended: int | None = None, **spec: Any
) -> dict[str, Any]:
    made = conversion_job(name, **spec)
    made["metadata"] |= {
        "uid": f"uid-{name}",
        "resourceVersion": str(second + 1),
        "generation": 1,
        "creationTimestamp": f"2026-01-02T03:04:{second:02}Z",
    }
    if phase:
        made["status"] = {"phase": phase, "reason": "R", "message": "m", "conditions": []}
    if phase and ended is not None:
        made["status"]["completionTime"] = f"2026-01-02T03:05:{ended:02}Z"
    return made


def record(
    name: str, second: int = 0, phase: str = "", ended: int | None = None, **spec: Any
) -> Record:
    return record_of(parse_conversion(body(name, second, phase, ended, **spec)))


RECORDS = st.builds(
    record,
    st.sampled_from("abcdefgh"),
    st.integers(0, 3),
    st.sampled_from(["", "Queued", "Running", "Succeeded", "Failed"]),
    st.integers(0, 3) | st.none(),
    queue=st.sampled_from(["default", "bulk"]),
)


def expected(records: Iterable[Record], phases: set[Phase]) -> list[str]:
    """The specification: sort all of them."""
    chosen = [each for each in records if not phases or each.phase in phases]
    return [each.name for each in sorted(chosen, key=lambda each: key_of(each, phases))]


@given(st.lists(st.tuples(RECORDS, st.booleans()), max_size=20), st.booleans())
def test_the_lists_are_those_of_a_sort_after_any_changes(
    changes: list[tuple[Record, bool]], rebuilt: bool
) -> None:
    listing, known = Listing(), dict[str, Record]()
    for one, deleted in changes:
        listing.move(known.pop(one.name, None), None if deleted else one)
        if not deleted:
            known[one.name] = one
    if rebuilt:
        listing.rebuild(known.values())
    for phases in (
        set[Phase](),
        {Phase.QUEUED},
        {Phase.FAILED},
        {Phase.SUCCEEDED, Phase.FAILED},
        {Phase.RUNNING, Phase.SUCCEEDED},
        {Phase.QUEUED, Phase.FAILED},
    ):
        names = expected(known.values(), phases)
        assert list(listing.names(phases, None)) == names
        for number, name in enumerate(names):
            token = encode_token(key_of(known[name], phases))
            after = decode_token(token, phases)
            assert list(listing.names(phases, after)) == names[number + 1 :]


def test_those_that_have_ended_are_in_the_order_of_their_ends() -> None:
    listing = Listing()
    for one in (
        *(
            record("a", 1, "Succeeded", 9),
            record("b", 2, "Succeeded", 3),
            record("c", 3, "Running"),
        ),
        *(record("d", 4, "Failed", 5), record("e", 5, "Failed", 3), record("f", 6, "Failed")),
    ):
        listing.move(None, one)
    assert list(listing.names({Phase.SUCCEEDED}, None)) == ["a", "b"]
    assert list(listing.names({Phase.FAILED}, None)) == ["d", "e", "f"], "f tells no end"
    ended = {Phase.SUCCEEDED, Phase.FAILED}
    assert list(listing.names(ended, None)) == ["a", "d", "e", "b", "f"]
    assert list(listing.names(ended | {Phase.RUNNING}, None)) == ["f", "e", "d", "c", "b", "a"]
    # What ends between two pages comes before the first one.
    after = key_of(record("d", 4, "Failed", 5), ended)
    listing.move(record("c", 3, "Running"), record("c", 3, "Succeeded", 12))
    assert list(listing.names(ended, after)) == ["e", "b", "f"]


@pytest.mark.parametrize("phases", [(), (Phase.QUEUED,), (Phase.FAILED,)])
@pytest.mark.parametrize(
    "token",
    [
        "x",
        "bm9uc2Vuc2U",
        "W10",
        "WzEsMl0",
        "e30",
        "ü",
        "a" * 3000,
        "WyJhIiwiYiIsMSwiYyIsImQiXQ",
        "WzEsMiwzXQ",
    ],
)
def test_other_texts_are_no_tokens(token: str, phases: tuple[Phase, ...]) -> None:
    with pytest.raises(ValueError, match=r"it is|Invalid isoformat"):
        decode_token(token, phases)


@pytest.mark.parametrize(
    ("chosen", "matches"),
    [
        (Filter(), True),
        (Filter(kind="video_to_mp4"), True),
        (Filter(kind="audio_to_mp3"), False),
        (Filter(queue="bulk"), True),
        (Filter(queue="default"), False),
        (Filter(search="holiday"), True),
        (Filter(search="input/h"), True),
        (Filter(search="output/"), True),
        (Filter(search="winter"), False),
        (Filter(kind="video_to_mp4", queue="bulk", search="holiday"), True),
        (Filter(kind="video_to_mp4", queue="bulk", search="winter"), False),
    ],
)
def test_a_filter(chosen: Filter, matches: bool) -> None:
    assert chosen.matches(record("a", queue="bulk", inputFile="input/Holiday.mov")) is matches


def test_a_search_looks_at_the_beginning_of_long_paths() -> None:
    outputs = [
        {"conversionType": "audio_to_mp3", "outputFile": f"{'d' * 900}/{number}.mp3"}
        for number in range(8)
    ]
    spec: dict[str, Any] = {"conversionType": None, "outputFile": None, "outputs": outputs}
    made = body("a", **spec)
    made["spec"] = {name: value for name, value in made["spec"].items() if value is not None}
    long = record_of(parse_conversion(made))
    assert len(long.facets.text) <= 2048
    assert long.facets.kinds == ("audio_to_mp3",) * 8


TWO = [
    {"conversionType": "video_to_mp4", "outputFile": "a.mp4"},
    {"conversionType": "audio_to_mp3", "outputFile": "a.mp3", "optional": True},
]


@pytest.mark.parametrize(
    ("phase", "states"),
    [
        ("Succeeded", ["Succeeded", "Skipped"]),
        ("Failed", ["Succeeded", "Failed"]),
        ("Failed", ["Failed", "Failed"]),
        ("Failed", ["Failed", "Succeeded"]),
        ("Failed", []),
        ("Cancelled", None),
    ],
)
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_retry_is_that_of_the_plugin(
    phase: str, states: list[str] | None, several: bool, again: bool
) -> None:
    made = body("a-retry-01234567" if again else "a", phase=phase, cancel=True, priority=7)
    if several:
        made["spec"] = {"inputFile": "a.mov", "outputs": TWO, "suspend": False}
        if states is not None:
            made["status"]["outputs"] = [{"state": state} for state in states]
    made["metadata"]["labels"] = {"batch": "7", "velero.io/restore-name": "x", "mine": "1"}
    made["metadata"]["annotations"] = {"note": "n", "converter.mynetwork.io/content-id": "4711"}
    if again:
        made["metadata"]["annotations"]["converter.mynetwork.io/retry-of"] = "first"
    plugin = retry_of_the_plugin(model.parse(made), ("mine",))
    assert retry_of(made, "", ("mine",)) == plugin


def test_a_retry_keeps_the_words_of_the_caller_and_names_who_asked() -> None:
    made = body("a", phase="Failed")
    own = "converter.mynetwork.io"
    words = {
        f"{own}/caller-input-file": "/opt/x/a.mov",
        f"{own}/caller-output-file": "/opt/x/a.mp4",
    }
    made["metadata"]["annotations"] = words | {
        f"{own}/caller": "alice",
        f"{own}/request-sha256": "1",
    }
    annotations = retry_of(made, "bob")["metadata"]["annotations"]
    assert annotations == words | {f"{own}/retry-of": "uid-a", f"{own}/caller": "bob"}


def test_a_record_is_moved_only_if_its_place_changes() -> None:
    """Progress is the most frequent change, and must cost the lists nothing."""
    listing, before = Listing(), record("a", phase="Running")
    listing.move(None, before)
    lists = listing._newest, listing._phases[Phase.RUNNING]
    keys = [list(map(id, keys)) for keys in lists]
    listing.move(before, replace(before, version=before.version + 1))
    assert [list(map(id, keys)) for keys in lists] == keys
