"""Which callbacks are owed, what to do about each, what a response means, and the message."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from conversion_operator.api import names
from conversion_operator.api.callback_hosts import AllowedHosts
from conversion_operator.api.spec import Notify
from conversion_operator.api.status import ConversionJobStatus, Notification, NotifyState, Phase
from conversion_operator.callbacks import policy
from conversion_operator.callbacks.loop import read_secret
from conversion_operator.callbacks.message import build_message, sign
from conversion_operator.callbacks.policy import Response, Send, Wait, Write
from conversion_operator.cluster.parsing import parse_conversion
from conversion_operator.controller.settings import Settings
from conversion_operator.core.model import Conversion, Policy
from conversion_operator.core.plan import DeleteConversion
from conversion_operator.core.reconcile import callback_url, decide
from conversion_operator.core.status_size import STATUS_MAX_BYTES, limit_status_size
from conversion_operator.core.transitions import (
    with_pending_callback_if_ended,
)
from media_converter.contract import ExitReason
from tests.unit.operator.builders import (
    POLICY,
    at,
    bad_report,
    children,
    conversion,
    ended,
    job,
    snapshot,
    status,
    step,
    succeeded,
)

ROOT = Path(__file__).parents[3]
URL = "https://hooks.example/a?token=abc"
HOSTS = AllowedHosts(frozenset({"hooks.example"}))
NOT_ALLOWED = "The host hooks.example is not in CONVERTER_CALLBACK_HOSTS"
ENDED = 11.0  # when succeeded() ended, in seconds after T0
PENDING = Notification(state=NotifyState.PENDING, attempts=0)
DONE = step(conversion(notify={"url": URL}), children(job(), succeeded()), 12)[1]


def noted(**changes: Any) -> Conversion:
    note = PENDING.model_copy(update=changes)
    return replace(DONE, status=status(DONE).model_copy(update={"notify": note}))


def note_of(subject: Conversion) -> Notification:
    note = status(subject).notify
    assert note is not None
    return note


class TestOwed:
    def test_a_callback_is_owed_from_the_write_of_the_end(self) -> None:
        assert status(DONE).notify == PENDING
        assert policy.pending_notification(DONE) == PENDING

    @pytest.mark.parametrize("default", ["", URL])
    def test_a_default_is_for_those_without_an_own(self, default: str) -> None:
        policy = replace(POLICY, callback_url=default)
        plan = decide(snapshot(conversion(), children(job(), succeeded()), 12, policy=policy))
        assert plan.status
        assert plan.status.notify == (PENDING if default else None)
        assert callback_url(conversion(), default) == default
        assert callback_url(conversion(notify={"url": URL}), default) == URL
        # This release cannot read it. The default is the receiver of others.
        assert callback_url(replace(conversion(), has_notify=True), default) == ""

    @pytest.mark.parametrize(
        ("phase", "parts", "changes"),
        [
            ("Failed", (job(), ended(4, "Error", bad_report(ExitReason.INPUT_DAMAGED))), {}),
            ("Cancelled", (), {"cancel": True}),
        ],
    )
    def test_every_end_owes_one(self, phase: str, parts: Any, changes: Any) -> None:
        subject = conversion(notify={"url": URL}, maxRetries=0, **changes)
        done = step(subject, children(*parts), 12)[1]
        assert (status(done).phase, status(done).notify) == (Phase(phase), PENDING)

    def test_what_has_not_ended_owes_none(self) -> None:
        waiting = step(conversion(notify={"url": URL}), children(), position=1)[1]
        assert status(waiting).notify is None
        assert policy.pending_notification(waiting) is None
        assert policy.pending_notification(None) is None

    @pytest.mark.parametrize("state", [NotifyState.DELIVERED, NotifyState.GAVE_UP])
    def test_nor_does_what_is_settled(self, state: NotifyState) -> None:
        assert policy.pending_notification(noted(state=state)) is None

    def test_a_finalizer_of_others_does_not_hold_back_a_callback(self) -> None:
        assert policy.pending_notification(replace(DONE, deleting=True)) is not None

    def test_a_status_written_again_keeps_it(self) -> None:
        told = PENDING.model_copy(update={"state": NotifyState.DELIVERED, "attempts": 1})
        kept = with_pending_callback_if_ended(status(DONE).model_copy(update={"notify": told}), URL)
        assert kept.notify == told


class TestNextStep:
    @pytest.mark.parametrize(
        ("changes", "now", "expected"),
        [
            ({}, 12, Send(URL)),
            ({}, ENDED + 99999, Send(URL)),  # nobody led for a day: once, all the same
            ({"next_attempt_time": at(20)}, 12, Wait(timedelta(seconds=8))),
            ({"next_attempt_time": at(20)}, 20, Send(URL)),
            ({"next_attempt_time": at(20)}, ENDED + 99999, Send(URL)),
            ({"state": NotifyState.DELIVERED}, 12, None),
        ],
    )
    def test_when_to_send(self, changes: Any, now: float, expected: object) -> None:
        assert policy.next_step(noted(**changes), at(now), URL, HOSTS, True) == expected

    def test_a_receiver_that_a_later_release_named_is_left_to_that_release(self) -> None:
        """Its spec.notify cannot be read, so there is no URL."""
        odd = replace(noted(), spec=None, has_notify=True)
        assert policy.next_step(odd, at(ENDED + 99999), "", HOSTS, True) == Wait(
            timedelta(seconds=15)
        )
        removed = replace(noted(), spec=conversion().spec, has_notify=False)
        assert isinstance(policy.next_step(removed, at(12), "", HOSTS, True), policy.Write)

    @pytest.mark.parametrize(
        ("message", "now", "expected"),
        [
            (None, 12, NotifyState.PENDING),
            (policy.UNSIGNED, 12, Wait(timedelta(seconds=15))),
            (policy.UNSIGNED, ENDED + 3595, Wait(timedelta(seconds=5))),
            (policy.UNSIGNED, ENDED + 3600, NotifyState.GAVE_UP),
            (None, ENDED + 3600, NotifyState.GAVE_UP),
        ],
    )
    def test_without_a_secret(self, message: str | None, now: float, expected: object) -> None:
        found = policy.next_step(noted(message=message), at(now), URL, HOSTS, False)
        if isinstance(found, Write):
            assert found.notification.attempts == 0
            assert found.notification.message == policy.UNSIGNED
            assert found.notification.state is expected
        else:
            assert found == expected

    @pytest.mark.parametrize(
        ("message", "now", "expected"),
        [
            (None, ENDED, NotifyState.PENDING),
            ("The receiver responded 500", ENDED + 599, NotifyState.PENDING),
            (NOT_ALLOWED, ENDED, Wait(timedelta(seconds=15))),
            (NOT_ALLOWED, ENDED + 595, Wait(timedelta(seconds=5))),
            (NOT_ALLOWED, ENDED + 600, NotifyState.GAVE_UP),
            (None, ENDED + 600, NotifyState.GAVE_UP),
        ],
    )
    def test_a_host_that_is_not_allowed_may_be_added_within_ten_minutes(
        self, message: str | None, now: float, expected: object
    ) -> None:
        nobody = AllowedHosts(frozenset())
        found = policy.next_step(noted(message=message), at(now), URL, nobody, True)
        if not isinstance(found, Write):
            assert found == expected
            return
        assert (found.notification.state, found.notification.attempts) == (expected, 0)
        assert found.notification.message == NOT_ALLOWED
        told = policy.warning(found.notification, found.cure)
        assert told is not None
        assert told.message.startswith(f"{NOT_ALLOWED}. ")
        if expected is NotifyState.PENDING:
            assert told.reason == "CallbackWaits"
            assert f"Add it before {at(ENDED + 600):%H:%M} UTC, see docs/" in told.message
        else:
            assert told.reason == "CallbackGaveUp"

    @pytest.mark.parametrize(
        ("url", "why"),
        [("https://u:p@hooks.example/", "user name"), ("", "URL was removed")],
    )
    def test_what_can_never_be_sent_is_given_up_at_once(self, url: str, why: str) -> None:
        found = policy.next_step(DONE, at(12), url, HOSTS, True)
        assert isinstance(found, Write)
        assert found.notification.state is NotifyState.GAVE_UP
        assert why in (found.notification.message or "")
        assert "abc" not in (found.notification.message or "")

    def test_a_failed_delivery_attempt_needs_no_event_and_the_last_one_does(self) -> None:
        failed = policy.after_response(DONE, at(12), Response(500))
        assert policy.warning(failed, "") is None
        told = policy.warning(policy.after_response(DONE, at(12), Response(410)), "")
        assert told is not None
        assert told.message == "The receiver responded 410. The operator sends no callback."
        delivered = policy.after_response(DONE, at(12), Response(200))
        assert policy.warning(delivered, "") is None


class TestResponses:
    @pytest.mark.parametrize(
        ("response", "state", "wait"),
        [
            (Response(200), NotifyState.DELIVERED, None),
            (Response(204), NotifyState.DELIVERED, None),
            (Response(302), NotifyState.PENDING, 5),
            (Response(400), NotifyState.PENDING, 5),
            (Response(404), NotifyState.PENDING, 5),
            (Response(410), NotifyState.GAVE_UP, None),
            (Response(429, "60"), NotifyState.PENDING, 60),
            (Response(503, "3"), NotifyState.PENDING, 5),
            (Response(503, "99999999999"), NotifyState.PENDING, 600),
            (Response(503, "Thu, 01 Jan 2026 12:01:22 GMT"), NotifyState.PENDING, 60),
            (Response(503, "Thu, 01 Jan 2026 12:01:22"), NotifyState.PENDING, 60),
            (Response(503, "Thu, 01 Jan 2015 00:00:00 GMT"), NotifyState.PENDING, 5),
            (Response(503, "-7"), NotifyState.PENDING, 5),
            (Response(503, "soon"), NotifyState.PENDING, 5),
            (
                Response(503, "Thu, 01 Jan 99999999999999999 00:00:00 GMT"),
                NotifyState.PENDING,
                5,
            ),
            (Response(503, "Thu, 01 Jan 2026 12:01:22 +99999999999999"), NotifyState.PENDING, 5),
            (Response(500), NotifyState.PENDING, 5),
            (Response(problem="There was no answer"), NotifyState.PENDING, 5),
        ],
    )
    def test_what_follows(self, response: Response, state: NotifyState, wait: float | None) -> None:
        now = at(22)
        after = policy.after_response(DONE, now, response)
        assert (after.state, after.attempts, after.last_attempt_time) == (state, 1, now)
        due = None if wait is None else now + timedelta(seconds=wait)
        assert after.next_attempt_time == due
        assert (after.message is None) == (state is NotifyState.DELIVERED)

    def test_given_up_when_the_next_would_be_later_than_an_hour(self) -> None:
        late = noted(attempts=3, next_attempt_time=at(ENDED + 3590))
        after = policy.after_response(late, at(ENDED + 3590), Response(500))
        assert (after.state, after.attempts) == (NotifyState.GAVE_UP, 4)
        assert after.next_attempt_time is None
        assert after.message == "The receiver responded 500"

    def test_a_success_is_one_at_any_time(self) -> None:
        after = policy.after_response(noted(attempts=3), at(99999), Response(200))
        assert (after.state, after.attempts) == (NotifyState.DELIVERED, 4)

    def test_only_what_is_owed_has_attempts(self) -> None:
        with pytest.raises(ValueError, match="owed"):
            policy.after_response(conversion(), at(12), Response(200))


class TestTimeToLive:
    @pytest.mark.parametrize(
        ("state", "now", "deleted"),
        [
            (NotifyState.PENDING, 12, False),
            (NotifyState.PENDING, ENDED + 86399, False),
            (NotifyState.PENDING, ENDED + 86400, True),  # not for ever
            (NotifyState.DELIVERED, 12, True),
            (NotifyState.GAVE_UP, 12, True),
        ],
    )
    def test_waits_for_the_callback(self, state: NotifyState, now: float, deleted: bool) -> None:
        subject = noted(state=state)
        made = conversion(notify={"url": URL}, ttlSecondsAfterFinished=0)
        plan = decide(snapshot(replace(made, status=subject.status), now=now))
        assert (DeleteConversion() in plan.actions) is deleted
        assert plan.status is None


class TestMessage:
    def test_the_example_of_the_page(self) -> None:
        """docs/callbacks.md shows it; the same bytes each time."""
        done = replace(DONE, annotations={names.CONTENT_ID_ANNOTATION: "film-17"})
        message = build_message(done)
        assert message == build_message(replace(done, version=7))
        event = json.loads(message.body)
        page = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf-8")
        assert json.dumps(event, indent=2) in page
        secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        for name, value in sign(secret, message.id, 1767268812, message.body).items():
            assert f"{name}: {value}\n" in page

    def test_annotations_are_bounded_and_the_others_stay_out(self) -> None:
        body = {
            "metadata": {
                "namespace": "n",
                "name": "c",
                "uid": "u",
                "resourceVersion": "1",
                "annotations": {names.CALLER_INPUT_ANNOTATION: "x" * 5000, "other": "secret"},
            },
            "spec": {"conversionType": "audio_to_mp3", "inputFile": "a", "outputFile": "b.mp3"},
            "status": status(DONE).to_json(),
        }
        message = build_message(parse_conversion(body))
        assert json.loads(message.body)["data"]["callerInputFile"] == "x" * 1024
        assert b"secret" not in message.body

    def test_one_that_could_not_be_understood_is_told_of(self) -> None:
        odd = replace(conversion(), spec=None, spec_error="spec.size: odd")
        policy = replace(POLICY, callback_url=URL)
        plan = decide(snapshot(odd, policy=policy))
        data = json.loads(build_message(replace(odd, status=plan.status)).body)["data"]
        assert (data["status"], data["reason"]) == ("failed", "InvalidSpec")
        assert "inputFile" not in data

    def test_what_has_not_ended_is_not_told_of(self) -> None:
        with pytest.raises(ValueError, match="not ended"):
            build_message(conversion())


def test_a_full_status_has_room_for_what_becomes_of_the_callback() -> None:
    full = status(DONE).model_copy(
        update={"logs": "<" * 2048, "message": "&" * 1024, "attempts": None}
    )
    fitted = limit_status_size(full)
    longest = Notification(
        state=NotifyState.DELIVERED,
        attempts=10**6,
        last_attempt_time=at(1),
        next_attempt_time=at(2),
        message="m" * 200,
    )
    stored = fitted.model_copy(update={"notify": longest}).to_json()
    text = json.dumps(stored, ensure_ascii=False)
    size = len(text.encode()) + 5 * sum(text.count(sign) for sign in "<>&")
    assert size <= STATUS_MAX_BYTES
    assert fitted.logs  # not at the expense of all of it
    assert ConversionJobStatus.model_validate(stored).notify == longest


@pytest.mark.parametrize(
    "url", ["", "https://a b/", "https://a\\b/", "https://ä/", "https://a/\n", "x" * 1025]
)
def test_urls_that_no_spec_may_have(url: str) -> None:
    with pytest.raises(ValidationError):
        Notify(url=url)
    if url and len(url) < 1025:
        with pytest.raises(ValidationError):
            Settings(converter_callback_url=url)


@pytest.mark.parametrize(
    "url", ["hooks.example", "ftp://a/", "http:///a", "https://u@a/", "http://"]
)
def test_defaults_that_are_slips(url: str) -> None:
    with pytest.raises(ValidationError):
        Settings(converter_callback_url=url)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", set()),
        ("Hooks.Example., b", {"hooks.example", "b"}),
        ("10.0.0.1,fd00::1", {"10.0.0.1", "fd00::1"}),
    ],
)
def test_the_list_of_hosts(text: str, hosts: set[str]) -> None:
    assert Settings(converter_callback_hosts=text).callback_hosts.common == hosts


@pytest.mark.parametrize("text", ["https://a", "a/b", "*.example", "a:80", "a b", ".", "..", ".a"])
def test_lists_of_hosts_that_are_slips(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(converter_callback_hosts=text)


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        ("", {}),
        ("team-a=A.example,b", {"team-a": {"a.example", "b"}}),
        ("team-a=a  team-b=b\nteam-c=\n", {"team-a": {"a"}, "team-b": {"b"}, "team-c": set()}),
    ],
)
def test_the_lists_of_namespaces(text: str, lists: dict[str, set[str]]) -> None:
    settings = Settings(converter_callback_hosts_by_namespace=text)
    assert settings.callback_hosts.by_namespace == lists


@pytest.mark.parametrize("text", ["a", "a:b", "A=b", "=b", "a=https://b", "a=b a=c", "a=b, c"])
def test_lists_of_namespaces_that_are_slips(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(converter_callback_hosts_by_namespace=text)


@pytest.mark.parametrize(
    ("own", "found"),
    [
        (None, b"the common secret"),
        ("the secret of team-a", b"the secret of team-a"),
        # A mistake in the own secret must not make the common one valid there.
        ("short", None),
        ("", None),
    ],
)
def test_a_namespace_may_have_a_secret_of_its_own(
    tmp_path: Path, own: str | None, found: bytes | None
) -> None:
    common = tmp_path / "secret"
    common.write_text("the common secret")
    if own is not None:
        (tmp_path / "secret.team-a").write_text(own)
    assert read_secret(common, "team-a") == found
    assert read_secret(common, "team-b") == b"the common secret"
    common.unlink()
    assert read_secret(common, "team-b") is None


def test_a_secret_of_a_namespace_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the common secret")
    (tmp_path / "secret.team-a").mkdir()
    assert read_secret(tmp_path / "secret", "team-a") is None


def test_settings_reach_the_decisions() -> None:
    assert Settings(converter_callback_url=URL).policy() == Policy(callback_url=URL)
