"""Callbacks: back-off and giving up, addresses rejected, signatures."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from conversion_operator.callbacks import message as signing
from conversion_operator.callbacks import policy

END = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempts", "last", "expected"),
    [(0, None, 0), (1, 0, 5), (2, 5, 15), (9, 1000, 1600), (9, 2999, 3599), (9, 3000, None)],
)
def test_next_send(attempts: int, last: int | None, expected: int | None) -> None:
    tried = None if last is None else END + timedelta(seconds=last)
    due = None if expected is None else END + timedelta(seconds=expected)
    assert policy.next_send_time(END, attempts, tried) == due


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.0.0.1", True),
        ("203.0.113.7", True),
        ("fd12::1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),  # noqa: S104 - rejected, not bound
        ("::", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("::127.0.0.1", False),
        ("0.1.2.3", False),
        ("255.255.255.255", False),
        ("example.com", False),
        ("127.1", False),
        ("2130706433", False),
        ("0x7f000001", False),
    ],
)
def test_addresses(address: str, allowed: bool) -> None:
    assert policy.may_connect(address) is allowed


@pytest.mark.parametrize(
    ("url", "rejected"),
    [
        ("https://hooks.example/a?b=c", None),
        ("http://HOOKS.example.:8080/", None),
        ("https://hooks.example.evil.test/", "not in CONVERTER_CALLBACK_HOSTS"),
        ("https://evil.test/hooks.example", "not in CONVERTER_CALLBACK_HOSTS"),
        ("https://hooks.example@evil.test/", "user name"),
        ("https://user:word@hooks.example/", "user name"),
        ("ftp://hooks.example/", "does not begin with http"),
        ("https://hooks.example:99999/", "is invalid"),
        ("https://[hooks.example/", "is invalid"),
        ("https:///path", "not in CONVERTER_CALLBACK_HOSTS"),
    ],
)
def test_targets(url: str, rejected: str | None) -> None:
    message = policy.url_problem(url, frozenset({"hooks.example"}))
    assert message is None if rejected is None else rejected in (message or "")


def test_an_empty_list_allows_no_host() -> None:
    assert policy.url_problem("https://hooks.example/", frozenset()) is not None


def test_signature_is_that_of_the_standards_example() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signing.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
