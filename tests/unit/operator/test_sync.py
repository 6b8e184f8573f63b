"""Which lists are known, and when the others no longer wait for them."""

from __future__ import annotations

import pytest

from conversion_operator.api.setting_checks import ALL_NAMESPACES
from conversion_operator.cluster.objects import Resource
from conversion_operator.controller.sync import GRACE_SECONDS, NamespaceSync


class Case:
    """Two namespaces, and a clock that the test sets. The term begins at 100 s."""

    def __init__(self) -> None:
        self.now = 0.0
        self.synced: list[str] = []
        self.relists = 0
        self.sync = NamespaceSync(
            ["ours", "theirs"],
            on_synced=self.synced.append,
            relist=self.relist,
            clock=lambda: self.now,
        )

    def relist(self) -> None:
        self.relists += 1

    def lead(self, at: float = 100) -> None:
        self.now = at
        self.sync.begin_term()

    def answer(self, namespace: str, at: float, *resources: Resource) -> None:
        for resource in resources or Resource:
            self.sync.answered(resource, namespace, at)


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_namespace_is_synced_when_each_list_was_answered(case: Case) -> None:
    for resource in Resource:
        assert not case.sync.synced("ours")
        case.answer("ours", 1, resource)
    assert case.sync.synced("ours")
    assert not case.sync.synced("theirs")
    assert case.synced == ["ours"]


def test_a_refused_list_is_not_known_any_more(case: Case) -> None:
    case.answer("ours", 1)
    case.sync.refused(Resource.PODS, "ours", "no right")
    assert not case.sync.synced("ours")
    assert "pods in ours (no right)" in case.sync.problem()
    case.answer("ours", 2, Resource.PODS)
    assert case.sync.synced("ours")
    assert case.synced == ["ours", "ours"]


def test_admissions_take_lists_of_jobs_and_pods_from_this_term(case: Case) -> None:
    case.answer("ours", 99)
    case.lead(100)
    assert case.relists == 1
    assert case.sync.synced("ours")
    assert not case.sync.admissible("ours")
    case.answer("ours", 100, Resource.JOBS)
    assert not case.sync.admissible("ours")
    case.answer("ours", 101, Resource.PODS)
    assert case.sync.admissible("ours")
    case.lead(200)
    assert not case.sync.admissible("ours")


def test_all_wait_for_a_namespace_for_30_seconds(case: Case) -> None:
    assert GRACE_SECONDS == 30
    case.lead(100)
    case.answer("ours", 100)
    case.sync.refused(Resource.JOBS, "theirs", "no right")
    assert case.sync.must_wait()
    case.now = 129.9
    assert case.sync.must_wait()
    case.now = 130
    assert not case.sync.must_wait()


def test_nobody_waits_once_all_were_listed(case: Case) -> None:
    case.lead(100)
    case.answer("ours", 100)
    assert case.sync.must_wait()
    case.answer("theirs", 101)
    assert not case.sync.must_wait()
    case.sync.refused(Resource.JOBS, "theirs", "no right")
    assert not case.sync.must_wait()


def test_ready_when_all_is_synced_or_the_wait_is_over(case: Case) -> None:
    assert not case.sync.ready()
    case.now = 60
    assert not case.sync.ready()  # the API server has not answered anything
    case.now = 1
    case.answer("ours", 1)
    assert not case.sync.ready()
    case.now = 60
    assert case.sync.ready()
    case.now = 1
    case.answer("theirs", 1)
    assert case.sync.ready()
    assert case.sync.problem() == ""


def test_a_namespace_that_is_added_in_a_term_keeps_no_other_waiting(case: Case) -> None:
    case.lead()
    case.answer("ours", 101)
    case.answer("theirs", 101)
    case.sync.serve("new")
    assert not case.sync.must_wait()
    assert not case.sync.synced("new")
    case.sync.begin_term()
    assert case.sync.must_wait()


def test_an_added_namespace_does_not_make_the_operator_unready(case: Case) -> None:
    assert not case.sync.ready()
    case.answer("ours", 1)
    assert not case.sync.ready()
    case.answer("theirs", 1)
    assert case.sync.ready()
    case.sync.serve("new")
    assert case.sync.ready()


def test_a_namespace_that_comes_back_is_looked_at_again(case: Case) -> None:
    case.answer("ours", 1)
    case.sync.leave("ours")
    assert case.sync.is_leaving("ours")
    case.sync.serve("ours")
    assert not case.sync.is_leaving("ours")
    assert case.synced == ["ours", "ours"]


def test_a_forgotten_namespace_leaves_nothing(case: Case) -> None:
    case.answer("ours", 1)
    case.sync.refused(Resource.PODS, "theirs", "no right")
    case.sync.forget("theirs")
    assert case.sync.namespaces == ("ours",)
    assert case.sync.all_synced()
    assert case.sync.problem() == ""
    case.sync.serve("theirs")
    assert "pods in theirs (no answer)" in case.sync.problem()


def test_how_long_lists_are_refused(case: Case) -> None:
    case.now = 5
    case.sync.refused(Resource.PODS, "ours", "no right")
    case.now = 9
    case.sync.refused(Resource.JOBS, "ours", "no right")
    case.answer("ours", 9, Resource.PODS)
    case.now = 12
    assert case.sync.refused_for("ours") == 7
    case.answer("ours", 12, Resource.JOBS)
    assert case.sync.refused_for("ours") == 0


def test_the_lists_of_all_namespaces_are_the_lists_of_each(case: Case) -> None:
    case.sync.serve(ALL_NAMESPACES)
    case.lead()
    case.answer(ALL_NAMESPACES, 101)
    assert case.synced == [ALL_NAMESPACES]
    for namespace in ("ours", "unheard-of"):
        assert case.sync.synced(namespace)
        assert case.sync.admissible(namespace)
        assert not case.sync.is_leaving(namespace)
    assert not case.sync.must_wait()
    case.lead(at=200)
    assert case.sync.synced("unheard-of")
    assert not case.sync.admissible("unheard-of")  # Jobs and pods are not listed in this term yet
    assert case.sync.must_wait()


def test_a_refused_list_of_all_namespaces_makes_each_unknown(case: Case) -> None:
    case.sync.serve(ALL_NAMESPACES)
    case.lead()
    case.answer(ALL_NAMESPACES, 101)
    case.answer("ours", 101)
    case.sync.refused(Resource.JOBS, ALL_NAMESPACES, "no right")
    assert not case.sync.synced("unheard-of")
    assert not case.sync.admissible("unheard-of")
    assert case.sync.admissible("ours")  # its own lists are known
    assert "jobs of all namespaces" in case.sync.refusal_of_all()
    assert "jobs in all namespaces (no right)" in case.sync.problem()
    case.answer(ALL_NAMESPACES, 102, Resource.JOBS)
    assert case.sync.refusal_of_all() == ""
    assert case.sync.admissible("unheard-of")


def test_a_former_namespace_is_not_served_while_all_are_unknown(case: Case) -> None:
    case.sync.serve(ALL_NAMESPACES)
    case.sync.leave("theirs")
    assert case.sync.is_leaving("theirs")
    assert not case.sync.is_leaving("ours")
    case.answer(ALL_NAMESPACES, 1)
    assert not case.sync.is_leaving("theirs")
    case.sync.leave(ALL_NAMESPACES)
    assert case.sync.is_leaving("theirs")
    assert case.sync.is_leaving("unheard-of")
    assert not case.sync.is_leaving("ours")
