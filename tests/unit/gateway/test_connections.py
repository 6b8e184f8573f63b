from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from converter_gateway.connections import ConnectionTable, Refusal, over_budget


def table(limit: int, per_address: int, *waiting: str) -> ConnectionTable[str]:
    """``waiting``: connections such as a1 and a2, of the address a, oldest first."""
    made: ConnectionTable[str] = ConnectionTable(limit, per_address)
    for number, connection in enumerate(waiting):
        made.add(connection, connection[0], float(number))
    return made


def test_there_is_room_up_to_the_limit() -> None:
    assert table(3, 3, "a1", "b1").make_room("a", 9) is None
    assert table(3, 2, "a1", "a2").make_room("b", 9) is None


def test_the_busiest_address_makes_room_for_others() -> None:
    full = table(5, 5, "b1", "a1", "a2", "b2", "a3")
    assert full.make_room("c", 9) == "a1"
    assert full.make_room("b", 9) == "a1"
    assert full.make_room("a", 9) is Refusal.LIMIT, "but not for itself"


def test_a_request_in_progress_is_kept() -> None:
    full = table(3, 3, "a1", "a2", "a3")
    full.serve("a1")
    assert full.make_room("b", 9) == "a2"
    full.serve("a2")
    full.serve("a3")
    assert full.make_room("b", 9) is Refusal.LIMIT
    full.wait("a3", 9)
    full.wait("a2", 10)
    assert full.make_room("b", 11) == "a3", "it waits again, and since earlier"


def test_a_full_address_replaces_what_has_waited_for_a_second() -> None:
    full = table(9, 2, "a1", "a2")
    assert full.make_room("a", 0.9) is Refusal.ADDRESS_LIMIT
    assert full.make_room("a", 1.0) == "a1"
    full.serve("a1")
    full.serve("a2")
    assert full.make_room("a", 99.0) is Refusal.ADDRESS_LIMIT


def test_what_was_removed_counts_no_more() -> None:
    full = table(2, 2, "a1", "a2")
    for _ in range(2):  # once to make room, and once when the connection is closed
        full.remove("a1")
    assert full.make_room("a", 9) is None
    full.wait("a1", 9)
    full.serve("a1")
    assert (len(full), full.address("a1")) == (1, "")


addresses = st.sampled_from("abc")
steps = st.lists(st.tuples(st.sampled_from(["open", "serve", "wait", "close"]), addresses))


@given(steps, st.integers(1, 6), st.integers(1, 6))
def test_the_limits_hold_after_any_history(
    history: list[tuple[str, str]], limit: int, per_address: int
) -> None:
    made: ConnectionTable[str] = ConnectionTable(limit, per_address)
    kept: list[str] = []
    for now, (what, address) in enumerate(history):
        mine = [connection for connection in kept if connection[0] == address]
        if what == "open":
            room = made.make_room(address, float(now))
            if isinstance(room, Refusal):
                continue
            if room is not None:
                made.remove(room)
                kept.remove(room)
            made.add(f"{address}{now}", address, float(now))
            kept.append(f"{address}{now}")
        elif mine and what == "close":
            made.remove(mine[0])
            kept.remove(mine[0])
        elif mine:
            (made.serve if what == "serve" else lambda c, n=now: made.wait(c, n))(mine[0])
        assert len(made) == len(kept) <= limit
        assert all(sum(c[0] == a for c in kept) <= per_address for a in "abc")


def test_the_largest_responses_of_the_busiest_address_go_first() -> None:
    unsent = {"a1": 30, "a2": 40, "b1": 50}
    assert list(over_budget(unsent, lambda c: c[0], 120)) == []
    assert list(over_budget(unsent, lambda c: c[0], 80)) == ["a2"]
    assert list(over_budget(unsent, lambda c: c[0], 40)) == ["a2", "b1"]
    assert list(over_budget({"a1": 999}, lambda c: c[0], 40)) == [], "one may always be read"
