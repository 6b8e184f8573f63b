"""How a reason is explained, and the phrases that several reasons share."""

from __future__ import annotations

from typing import Final, NamedTuple


class Explanation(NamedTuple):
    """What a reason means and what to do about it, as Markdown for users.

    ``cure`` begins with what the operator does automatically.
    """

    meaning: str
    cure: str


START: Final = "Retried automatically until `QueueTimeout`."
DISRUPTION: Final = "Retried automatically, up to 10 times."
FAILURE: Final = "Retried automatically, up to `spec.maxRetries` times."
REJECTED: Final = (
    "Retried automatically without limit. While pods in a namespace are rejected, the operator "
    "tries to start one conversion there every 15 s. The others in the namespace wait."
)
