"""Values with units in the columns of kubectl."""

from __future__ import annotations

import pytest

from conversion_operator.api.status import ConversionJobStatus, Display, Phase, Progress
from conversion_operator.core.display import duration_text, size_text, with_display


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0Ki"),
        (1536, "1.5Ki"),
        (10_188, "9.9Ki"),
        (10_189, "10Ki"),
        (712_560, "696Ki"),
        (1_048_064, "1.0Mi"),
        (5 * 2**30, "5.0Gi"),
        (2**63 - 1, "8.0Ei"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0.00s"),
        (350, "0.35s"),
        (2_349, "2.35s"),
        (9_994, "9.99s"),
        (9_995, "10.0s"),
        (45_123, "45.1s"),
        (59_949, "59.9s"),
        (59_950, "1m0s"),
        (125_000, "2m5s"),
        (3_599_499, "59m59s"),
        (3_599_500, "1h0m"),
        (3_900_000, "1h5m"),
        (360_000_000, "100h0m"),
    ],
)
def test_durations(milliseconds: int, text: str) -> None:
    assert duration_text(milliseconds) == text


def status(**fields: object) -> ConversionJobStatus:
    known = {"phase": Phase.RUNNING, "conditions": [], "reason": "Running", "message": "runs"}
    return ConversionJobStatus.model_validate(known | fields)


def test_only_what_is_known_is_shown() -> None:
    assert with_display(status()).display is None
    running = status(progress=Progress(percent=45))
    assert with_display(running).display == Display(progress="45%")
    ended = status(progress=Progress(percent=100), output_size=0, duration_milliseconds=0)
    expected = Display(progress="100%", size="0", duration="0.00s")
    assert with_display(ended).display == expected


def test_a_value_that_is_gone_is_not_shown() -> None:
    before = with_display(status(progress=Progress(percent=45)))
    queued = before.model_copy(update={"progress": None})
    assert with_display(queued).display is None
