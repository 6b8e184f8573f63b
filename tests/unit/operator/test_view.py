"""What is known never goes back to what it was, whatever comes late or twice."""

from __future__ import annotations

from typing import Any

import pytest

from conversion_operator.cluster.interface import Change, Listing, Resource
from conversion_operator.controller.view import View
from conversion_operator.core.manifest import build_job
from tests.unit.operator.builders import POLICY, UID, conversion

NAMESPACE = "my-network"


def conversion_body(version: int, *, cancel: bool = False) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": "c",
            "uid": UID,
            "resourceVersion": str(version),
        },
        "spec": {
            "conversionType": "video_to_mp4",
            "inputFile": "input/a.mov",
            "outputFile": "output/a.mp4",
            **({"cancel": True} if cancel else {}),
        },
    }


def job_body(version: int, *, finished: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = build_job(conversion(), 1, POLICY, False)
    body["metadata"] |= {"uid": "job-1", "resourceVersion": str(version)}
    conditions = [{"type": "Complete", "status": "True"}] if finished else []
    return body | {"status": {"conditions": conditions}}


@pytest.fixture
def view() -> View:
    return View(lambda _: None)


def test_an_older_conversion_is_passed_over(view: View) -> None:
    view.apply(Resource.CONVERSIONS, Change("MODIFIED", conversion_body(9, cancel=True)))
    view.apply(Resource.CONVERSIONS, Change("MODIFIED", conversion_body(5)))
    view.replace(Resource.CONVERSIONS, NAMESPACE, Listing((conversion_body(5),), "5"))
    known = view.conversion(UID)
    assert known
    assert known.cancelled


def test_a_deleted_conversion_does_not_come_back(view: View) -> None:
    view.apply(Resource.CONVERSIONS, Change("ADDED", conversion_body(5)))
    view.apply(Resource.CONVERSIONS, Change("DELETED", conversion_body(9)))
    view.apply(Resource.CONVERSIONS, Change("MODIFIED", conversion_body(7)))
    assert view.conversion(UID) is None


def test_an_older_job_is_passed_over(view: View) -> None:
    view.apply(Resource.JOBS, Change("MODIFIED", job_body(9, finished=True)))
    view.apply(Resource.JOBS, Change("MODIFIED", job_body(5)))
    assert not view.children(UID).live


def test_a_job_that_is_gone_does_not_come_back(view: View) -> None:
    view.apply(Resource.JOBS, Change("ADDED", job_body(5)))
    view.apply(Resource.JOBS, Change("DELETED", job_body(9)))
    view.apply(Resource.JOBS, Change("MODIFIED", job_body(10)))
    assert not view.children(UID).live


def test_a_list_takes_away_what_it_does_not_have_and_nothing_newer(view: View) -> None:
    view.apply(Resource.JOBS, Change("ADDED", job_body(5)))
    view.replace(Resource.JOBS, NAMESPACE, Listing((), "4"))
    assert view.children(UID).live
    view.replace(Resource.JOBS, NAMESPACE, Listing((), "6"))
    assert not view.children(UID).live


def test_nothing_is_complete_before_all_three_were_listed(view: View) -> None:
    for resource in Resource:
        assert not view.complete([NAMESPACE])
        view.replace(resource, NAMESPACE, Listing((), "1"))
    assert view.complete([NAMESPACE])
    assert not view.complete([NAMESPACE, "another"])
