"""Two pytest processes share the converter's tests: each runs once, and a lost one is noticed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hack.converter_tests import problems
from tests.converter.sharing import FOLDER, PROCESS, Share, claim, from_environment, in_order

TESTS = [f"tests/converter/test_{module}.py::test_{n}" for module in "abc" for n in range(4)]


def test_alone_there_is_nothing_to_share() -> None:
    assert from_environment({}) is None
    assert from_environment({FOLDER: "/x", PROCESS: "2"}) == Share(Path("/x"), 2)


def test_each_test_is_claimed_once(tmp_path: Path) -> None:
    def take(process: int) -> list[str]:
        return [test for test in in_order(TESTS, process) if claim(tmp_path, test)]

    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(take, (1, 2)))
    assert sorted(taken[0] + taken[1]) == sorted(TESTS)


def test_the_second_begins_at_the_last_module_and_goes_forwards_in_it() -> None:
    assert in_order(TESTS, 1) == TESTS
    assert in_order(TESTS, 2) == [*TESTS[8:], *TESTS[4:8], *TESTS[:4]]


def report(folder: Path, process: int, done: list[str], collected: list[str]) -> None:
    share = Share(folder, process)
    share.collected.write_text("".join(f"{test}\n" for test in collected))
    share.done.write_text("".join(f"{test}\n" for test in done))


@pytest.mark.parametrize(
    ("first", "second", "collected", "wanted"),
    [
        (TESTS[:5], TESTS[5:], TESTS, []),
        (TESTS[:4], TESTS[8:], TESTS, [f"never ran: {test}" for test in TESTS[4:8]]),
        (TESTS[:5], TESTS[4:], TESTS, [f"ran 2 times: {TESTS[4]}"]),
        (TESTS[:4], TESTS[4:], TESTS[1:], [f"known to one process only: {TESTS[0]}"]),
    ],
)
def test_a_test_that_ran_never_or_twice_is_named(
    tmp_path: Path, first: list[str], second: list[str], collected: list[str], wanted: list[str]
) -> None:
    report(tmp_path, 1, first, collected)
    report(tmp_path, 2, second, TESTS)
    assert problems(tmp_path) == wanted


def test_a_process_that_never_came_so_far_is_noticed(tmp_path: Path) -> None:
    report(tmp_path, 1, TESTS, TESTS)
    assert len(problems(tmp_path)) == len(TESTS)
