"""Decides which callbacks are owed, what to do about each now, and what a response means.

All decisions depend on the stored status, so a crash or a change of leader loses no callback. The
write that ends a conversion also stores that its callback is owed. If a URL is configured after
this write, no callback is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from conversion_operator.api.callback_hosts import AllowedHosts, url_problem
from conversion_operator.api.status import (
    NOTIFY_MESSAGE_MAX_BYTES,
    Notification,
    NotifyState,
)
from conversion_operator.core.model import Conversion
from conversion_operator.core.text import one_line

GIVE_UP_AFTER = timedelta(hours=1)
HOST_GIVE_UP_AFTER = timedelta(minutes=10)
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(minutes=10)

UNSIGNED: Final = "There is no secret to sign the callback with"
NO_URL: Final = "The URL was removed"
_RECHECK: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a callback. ``code`` is the HTTP status, 0 if there was no response.

    ``retry_after`` is the unparsed header, "" if absent. ``problem`` says why there was no
    response.
    """

    code: int = 0
    retry_after: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CallbackWarning:
    """A Warning Event."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send the callback now."""

    url: str


@dataclass(frozen=True, slots=True)
class Write:
    """Write this notification to the status, and send nothing.

    ``cure`` says what to do about it. "": nothing can be done.
    """

    notification: Notification
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for this time."""

    duration: timedelta


def pending_notification(conversion: Conversion | None) -> Notification | None:
    """``status.notify`` if the callback of the conversion is owed, else None."""
    if conversion is None or not conversion.finished:
        return None
    note = conversion.status.notify if conversion.status else None
    return note if note and note.state is NotifyState.PENDING else None


def next_step(
    conversion: Conversion, now: datetime, url: str, hosts: AllowedHosts, has_secret: bool
) -> Send | Write | Wait | None:
    """What to do now about the callback of a conversion. None: no callback is owed."""
    note = pending_notification(conversion)
    if note is None:
        return None
    if conversion.has_notify and not (conversion.spec and conversion.spec.notify):
        # A later release wrote spec.notify. An operator that can read it sends the callback.
        return Wait(_RECHECK)
    why = url_problem(url) if url else NO_URL
    if why:
        return Write(_give_up(note, why))
    ended = _end_time(conversion, now)
    not_allowed = hosts.problem(url)
    if not_allowed:
        # A callback that was sent before had an allowed host. A wrong edit of the setting must not
        # end its retries early.
        give_up_after = GIVE_UP_AFTER if note.attempts else HOST_GIVE_UP_AFTER
        return _wait_for_settings(note, not_allowed, now, ended + give_up_after)
    due = note.next_attempt_time or ended
    if due > now:
        return Wait(due - now)
    if has_secret:
        return Send(url)
    return _wait_for_settings(note, UNSIGNED, now, ended + GIVE_UP_AFTER)


def _wait_for_settings(
    note: Notification, why: str, now: datetime, give_up_at: datetime
) -> Write | Wait:
    """Wait until somebody changes the settings or the secret, at most until ``give_up_at``.

    A change reaches the operator up to two minutes after it was made.
    """
    if now >= give_up_at:
        return Write(_give_up(note, why))
    message = one_line(why, NOTIFY_MESSAGE_MAX_BYTES)
    if note.message != message:
        cure = f"Add it before {give_up_at:%H:%M} UTC, see docs/callbacks.md."
        return Write(note.model_copy(update={"message": message}), cure)
    return Wait(min(give_up_at - now, _RECHECK))


def warning(note: Notification, cure: str) -> CallbackWarning | None:
    """The Warning Event about a stored notification. None: it needs none.

    A failed delivery attempt needs none, because the next one follows automatically.
    """
    if note.state is NotifyState.GAVE_UP:
        return CallbackWarning("CallbackGaveUp", f"{note.message}. The operator sends no callback.")
    return CallbackWarning("CallbackWaits", f"{note.message}. {cure}") if cure else None


def after_response(conversion: Conversion, now: datetime, response: Response) -> Notification:
    """The notification to store after a callback was sent, and the response came at ``now``.

    Raises ValueError if no callback is owed.
    """
    note = pending_notification(conversion)
    if note is None:
        raise ValueError("no callback is owed")
    attempts = note.attempts + 1
    tried = Notification(state=NotifyState.PENDING, attempts=attempts, last_attempt_time=now)
    if 200 <= response.code < 300:
        return tried.model_copy(update={"state": NotifyState.DELIVERED})
    retry_after = _parse_retry_after(response.retry_after, now)
    due = next_send_time(_end_time(conversion, now), attempts, now, retry_after)
    message = _describe(response)
    if response.code == 410 or due is None:
        return _give_up(tried, message)
    return tried.model_copy(update={"next_attempt_time": due, "message": message})


def _end_time(conversion: Conversion, now: datetime) -> datetime:
    return (conversion.status and conversion.status.completion_time) or now


def _give_up(note: Notification, why: str) -> Notification:
    text = one_line(why, NOTIFY_MESSAGE_MAX_BYTES)
    update = {"state": NotifyState.GAVE_UP, "next_attempt_time": None, "message": text}
    return note.model_copy(update=update)


def _describe(response: Response) -> str:
    if not response.code:
        return one_line(response.problem, NOTIFY_MESSAGE_MAX_BYTES)
    more = "; redirects are not followed" if 300 <= response.code < 400 else ""
    return f"The receiver responded {response.code}{more}"


def _parse_retry_after(header: str, now: datetime) -> timedelta:
    """The delay that a Retry-After header requests. Zero if it is invalid or in the past."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 10**6))
    try:
        at = parsedate_to_datetime(text)
        # A date without a zone is in UTC (RFC 9110).
        return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
    except (ValueError, OverflowError):
        return timedelta(0)


def next_send_time(
    ended: datetime,
    attempts: int,
    last_attempt: datetime | None,
    retry_after: timedelta = timedelta(0),
) -> datetime | None:
    """When to send the callback next. None: give up, because the next time would be too late.

    We give up GIVE_UP_AFTER after the conversion ``ended``. ``retry_after`` is the delay that the
    receiver requests. The delay never exceeds LONGEST_DELAY.
    """
    if attempts <= 0 or last_attempt is None:
        return ended
    delay = min(max(FIRST_DELAY * 2 ** min(attempts - 1, 16), retry_after), LONGEST_DELAY)
    due = last_attempt + delay
    return due if due < ended + GIVE_UP_AFTER else None
