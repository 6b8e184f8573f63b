from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from conversion_operator.cluster.conversions import Caller
from conversion_operator.cluster.errors import Unavailable
from converter_gateway.errors import ApiError
from converter_gateway.tokens import TokenLimits, TokenReviews

LIMITS = TokenLimits(reviews=48, reviews_per_address=16, invalid_per_second=5, invalid_burst=20)


class SlowServer:
    """An API server that answers reviews when it is told to. Only the token `good` is valid."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()

    async def review(self, token: str) -> Caller | None:
        self.asked.append(token)
        await self.answers.wait()
        return {"good": Caller("me")}.get(token)


async def codes(reviews: TokenReviews, *asked: tuple[str, str]) -> list[asyncio.Task[int]]:
    """The status codes for pairs of a token and an address."""

    async def code(token: str, address: str) -> int:
        try:
            await reviews.owner(token, address)
        except ApiError as error:
            return error.code
        return 200

    tasks = [asyncio.create_task(code(*pair)) for pair in asked]
    for _ in range(5):
        await asyncio.sleep(0)  # each runs until it waits for the server
    return tasks


def ended(tasks: list[asyncio.Task[int]]) -> Counter[int]:
    return Counter(task.result() for task in tasks if task.done())


async def test_reviews_in_progress_are_limited_for_each_address_and_in_all() -> None:
    server = SlowServer()
    reviews = TokenReviews(server.review, LIMITS)
    one = await codes(reviews, *((f"a{n}", "10.0.0.1") for n in range(20)))
    assert (len(server.asked), ended(one)) == (16, {429: 4})
    two = await codes(
        reviews, *((f"{n}-{h}", f"10.0.0.{h}") for h in range(2, 6) for n in range(9))
    )
    assert (len(server.asked), ended(two)) == (48, {503: 4})
    server.answers.set()
    assert await (await codes(reviews, ("good", "10.0.0.9")))[0] == 200
    assert set(await asyncio.gather(*one, *two)) == {401, 429, 503}


async def test_a_token_is_reviewed_once_at_a_time_even_if_its_first_caller_leaves() -> None:
    server = SlowServer()
    reviews = TokenReviews(server.review, LIMITS)
    first, *others = await codes(reviews, *(("good", "10.0.0.1") for _ in range(40)))
    first.cancel()
    server.answers.set()
    assert set(await asyncio.gather(*others)) == {200}
    assert server.asked == ["good"]


async def test_tokens_that_are_not_valid_are_limited_for_each_address() -> None:
    server = SlowServer()
    server.answers.set()
    reviews = TokenReviews(server.review, LIMITS)
    assert [await (await codes(reviews, ("good", "10.0.0.1")))[0]] == [200]
    seen = [await (await codes(reviews, (f"bad{n}", "10.0.0.1")))[0] for n in range(60)]
    assert seen[:20] == [401] * 20
    assert seen.count(429) > 30
    asked = len(server.asked)
    known = await codes(reviews, ("good", "10.0.0.1"), ("bad1", "10.0.0.1"), ("good", "10.0.0.2"))
    assert await asyncio.gather(*known) == [200, 401, 200], "what is known needs no review"
    assert len(server.asked) == asked
    assert await (await codes(reviews, ("other", "10.0.0.2")))[0] == 401, "another address"


async def test_strangers_behind_the_same_address_do_not_lock_out_a_trusted_token() -> None:
    server = SlowServer()
    server.answers.set()
    reviews = TokenReviews(server.review, LIMITS)
    assert await (await codes(reviews, ("good", "10.0.0.1")))[0] == 200
    reviews._callers.clear()  # its 10 s are over
    for number in range(25):
        await asyncio.gather(*await codes(reviews, (f"bad{number}", "10.0.0.1")))
    assert await (await codes(reviews, ("new", "10.0.0.1")))[0] == 429
    assert await (await codes(reviews, ("good", "10.0.0.1")))[0] == 200


async def test_reviews_of_strangers_do_not_lock_out_a_trusted_token() -> None:
    server = SlowServer()
    server.answers.set()
    reviews = TokenReviews(server.review, LIMITS)
    assert await (await codes(reviews, ("good", "10.0.0.1")))[0] == 200
    reviews._callers.clear()
    server.answers.clear()
    await codes(reviews, *((f"a{n}", "10.0.0.1") for n in range(16)))
    (good,) = await codes(reviews, ("good", "10.0.0.1"))
    server.answers.set()
    assert await good == 200


async def test_a_revoked_token_is_not_trusted() -> None:
    valid = {"good"}

    async def review(token: str) -> Caller | None:
        return Caller("me") if token in valid else None

    reviews = TokenReviews(review, LIMITS)
    assert await reviews.owner("good", "10.0.0.1") == Caller("me")
    reviews._callers.clear()
    valid.clear()
    assert await (await codes(reviews, ("good", "10.0.0.1")))[0] == 401
    reviews._invalid.clear()
    for number in range(25):
        await asyncio.gather(*await codes(reviews, (f"bad{number}", "10.0.0.1")))
    assert await (await codes(reviews, ("good", "10.0.0.1")))[0] == 429


async def test_a_review_that_fails_is_not_remembered() -> None:
    asked: list[str] = []

    async def review(token: str) -> Caller | None:
        asked.append(token)
        if len(asked) == 1:
            raise Unavailable("the API server does not respond")
        return Caller("me")

    reviews = TokenReviews(review, LIMITS)
    with pytest.raises(Unavailable):
        await reviews.owner("good", "10.0.0.1")
    assert await reviews.owner("good", "10.0.0.1") == Caller("me")
