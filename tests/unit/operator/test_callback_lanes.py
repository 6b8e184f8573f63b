"""Which callback is sent next: no host takes the places of the others."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from conversion_operator.callbacks.lanes import (
    MOST_OPEN,
    MOST_SILENT,
    PER_HOST,
    Departure,
    HostLanes,
)


def take_all(lanes: HostLanes) -> list[Departure]:
    taken: list[Departure] = []
    while departure := lanes.take():
        taken.append(departure)
    return taken


def fill(lanes: HostLanes, hosts: int, callbacks: int = 10, name: str = "dead") -> None:
    for number in range(hosts):
        for callback in range(callbacks):
            lanes.add(f"{name}-{number}", f"{number}-{callback}")


def test_a_lane_keeps_its_order_and_each_host_has_few_places() -> None:
    lanes = HostLanes()
    fill(lanes, 1, 5000)
    assert [uid for _, uid in take_all(lanes)] == [f"0-{n}" for n in range(PER_HOST)]
    lanes.release("dead-0", responded=True)
    assert take_all(lanes) == [Departure("dead-0", f"0-{PER_HOST}")]


def test_hosts_take_turns() -> None:
    lanes = HostLanes()
    fill(lanes, 3)
    assert [host for host, _ in take_all(lanes)] == [f"dead-{n}" for n in range(3)] * PER_HOST


def test_the_places_are_limited_in_all() -> None:
    lanes = HostLanes()
    fill(lanes, MOST_OPEN)
    assert len(take_all(lanes)) == MOST_OPEN


def test_a_silent_host_gets_one_place_until_it_responds() -> None:
    lanes = HostLanes()
    fill(lanes, 1, 50)
    for _ in take_all(lanes):
        lanes.release("dead-0", responded=False)
    assert len(take_all(lanes)) == 1
    lanes.release("dead-0", responded=None)
    assert len(take_all(lanes)) == 1, "nothing was sent, so nothing is known about the host"
    lanes.release("dead-0", responded=True)
    assert len(take_all(lanes)) == PER_HOST


def test_silent_hosts_leave_places_for_the_others() -> None:
    lanes = HostLanes()
    fill(lanes, MOST_OPEN)
    while departures := take_all(lanes):
        if len({host for host, _ in departures}) == MOST_SILENT:
            break
        for host, _ in departures:
            lanes.release(host, responded=False)
    fill(lanes, MOST_OPEN, name="lives")
    taken = Counter(host.split("-")[0] for host, _ in take_all(lanes))
    assert taken == {"lives": MOST_OPEN - MOST_SILENT}


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["add", True, False, None]))))
def test_no_callback_is_lost_or_stuck(steps: list[tuple[int, str | bool | None]]) -> None:
    lanes, added, sent = HostLanes(), Counter[str](), Counter[str]()
    being_sent: dict[str, list[str]] = defaultdict(list)

    def depart() -> None:
        for host, uid in take_all(lanes):
            assert uid == f"{host}-{sent[host]}"
            sent[host] += 1
            being_sent[host].append(uid)
            assert len(being_sent[host]) <= PER_HOST
        total = sum(map(len, being_sent.values()))
        assert total <= MOST_OPEN
        if total < MOST_SILENT:  # then only a host that has its places may have callbacks left
            assert all(being_sent[host] for host in added if sent[host] < added[host])

    for number, what in steps:
        host = f"h{number}"
        if isinstance(what, str):
            lanes.add(host, f"{host}-{added[host]}")
            added[host] += 1
        elif being_sent[host]:
            being_sent[host].pop()
            lanes.release(host, responded=what)
        depart()
    while any(being_sent.values()):
        for host in [host for host, uids in being_sent.items() if uids]:
            being_sent[host].pop()
            lanes.release(host, responded=False)
        depart()
    assert sent == +added
    assert (lanes._waiting, lanes._open, lanes._open_silent) == ({}, {}, 0)
    assert (lanes._ready, lanes._ready_silent) == ({}, {})
