"""For receivers: what is taken, and what is not."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conversion_operator.callbacks.message import build_message, sign
from mynetwork_converter.callbacks import CallbackError, verify
from tests.unit.operator.builders import children, conversion, job, step, succeeded

RAW = b"a secret of more than sixteen bytes"
SECRET = "whsec_" + base64.b64encode(RAW).decode()
NOW = 1_767_268_812
MESSAGE = build_message(step(conversion(), children(job(), succeeded()), 12)[1])
HEADERS = sign(RAW, MESSAGE.id, NOW, MESSAGE.body)
SIGNATURE = HEADERS["webhook-signature"]


def test_what_the_operator_signs_is_taken() -> None:
    event = verify(SECRET, HEADERS, MESSAGE.body, now=NOW)
    assert event["id"] == MESSAGE.id
    assert event["data"]["status"] == "completed"


@pytest.mark.parametrize("secret", [SECRET, SECRET.encode(), SECRET + "\n", RAW, RAW.decode()])
def test_secrets_as_they_are_kept(secret: str | bytes) -> None:
    assert verify(secret, HEADERS, MESSAGE.body, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: {name.title(): value for name, value in h.items()},
        lambda h: h | {"webhook-signature": f"v1,AAAA {SIGNATURE} v2,BBBB"},
    ],
    ids=["other case", "several signatures"],
)
def test_headers_as_they_come(change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
    assert verify(SECRET, change(HEADERS), MESSAGE.body, now=NOW)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"webhook-signature": ""}, "signature"),
        ({"webhook-signature": "v1,"}, "signature"),
        ({"webhook-signature": SIGNATURE.replace("v1,", "v2,")}, "signature"),
        ({"webhook-signature": SIGNATURE.removeprefix("v1,")}, "signature"),
        ({"webhook-signature": "v1,\xe4"}, "signature"),
        ({"webhook-id": MESSAGE.id + "x"}, "signature"),
        ({"webhook-id": ""}, "malformed"),
        ({"webhook-timestamp": str(NOW + 1)}, "signature"),
        ({"webhook-timestamp": "now"}, "malformed"),
        ({"webhook-timestamp": "\u0661"}, "malformed"),
        ({"webhook-timestamp": ""}, "malformed"),
    ],
)
def test_headers_that_are_not_taken(changes: Any, why: str) -> None:
    with pytest.raises(CallbackError, match=why):
        verify(SECRET, HEADERS | changes, MESSAGE.body, now=NOW)


def test_a_body_that_was_changed_is_not_taken() -> None:
    with pytest.raises(CallbackError, match="signature"):
        verify(SECRET, HEADERS, MESSAGE.body.replace(b"completed", b"cancelled"), now=NOW)


def test_nor_that_of_another_secret() -> None:
    with pytest.raises(CallbackError, match="signature"):
        verify(RAW + b"x", HEADERS, MESSAGE.body, now=NOW)


@pytest.mark.parametrize(
    ("age", "tolerance", "taken"),
    [
        (300, 300, True),
        (301, 300, False),
        (-300, 300, True),
        (-301, 300, False),
        (10, 9, False),
        (10**8, 10**9, True),
    ],
)
def test_what_is_old_is_not_taken(age: float, tolerance: float, taken: bool) -> None:
    if taken:
        assert verify(SECRET, HEADERS, MESSAGE.body, tolerance, now=NOW + age)
    else:
        with pytest.raises(CallbackError, match="old"):
            verify(SECRET, HEADERS, MESSAGE.body, tolerance, now=NOW + age)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"id": "another"}'])
def test_a_genuine_body_that_is_no_event_of_that_id(body: bytes) -> None:
    headers = sign(RAW, MESSAGE.id, NOW, body)
    with pytest.raises(CallbackError, match="body"):
        verify(SECRET, headers, body, now=NOW)


def test_a_secret_that_is_none_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="base64"):
        verify("whsec_?", HEADERS, MESSAGE.body, now=NOW)


def test_the_lines_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/callbacks.md: its example of the headers, and its way to check them."""
    page = (Path(__file__).parents[3] / "docs" / "callbacks.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def verify" in b]
    scope: dict[str, Any] = {}
    exec(block, scope)  # noqa: S102 - what readers are told to run
    monkeypatch.setattr("time.time", lambda: NOW + 10.0)
    assert scope["verify"](SECRET, HEADERS, MESSAGE.body)
    assert not scope["verify"](SECRET, HEADERS, MESSAGE.body + b" ")
    monkeypatch.setattr("time.time", lambda: NOW + 1000.0)
    assert not scope["verify"](SECRET, HEADERS, MESSAGE.body)
    assert f"webhook-id: {MESSAGE.id}\n" in page
