"""The rates of a video, as its packets have them."""

from __future__ import annotations

import pytest

from media_converter.probing.packets import PacketReader
from media_converter.probing.rates import Rates, measure


def of_pictures(*pictures: tuple[float, int]) -> Rates:
    reader = PacketReader()
    for time, size in pictures:
        reader.add_line(f"0,{time:.6f},{time:.6f},0.04,{size},0,K__")
    return measure(reader)


def every(rate: float, start: float, end: float, size: int = 1000) -> list[tuple[float, int]]:
    count = round((end - start) * rate)
    return [(start + number / rate, size) for number in range(count)]


def test_a_steady_film_has_its_mean_bit_rate() -> None:
    film = of_pictures(*every(25, 0, 1000, 10_000))
    assert film.bit_rate == pytest.approx(2_000_000, rel=0.002)
    assert film.frame_rate == pytest.approx(25)


def test_ten_fast_seconds_of_a_long_film_count() -> None:
    film = of_pictures(*every(25, 0, 500), *every(25, 500, 510, 50_000), *every(25, 510, 1000))
    assert film.bit_rate == pytest.approx(10_000_000 / 1.1, rel=0.01), "110 % of a limit are right"


def test_a_film_of_less_than_ten_seconds_is_no_slower_for_that() -> None:
    film = of_pictures(*every(25, 0, 6, 72_000))
    assert film.bit_rate == pytest.approx(14_400_000 * 6 / 7, rel=0.01)
    assert of_pictures((3.0, 1000)).bit_rate == 8000


def test_the_order_in_a_file_does_not_matter() -> None:
    film = every(25, 0, 20, 5000)
    assert of_pictures(*reversed(film)) == of_pictures(*film)


def test_without_times_nothing_is_known() -> None:
    reader = PacketReader()
    reader.add_line("0,N/A,N/A,0.04,9,0,K__")
    assert measure(reader).bit_rate == measure(reader).frame_rate == float("inf")


def test_the_fastest_second_gives_the_frame_rate() -> None:
    assert of_pictures(*every(10, 0, 90), *every(50, 90, 100)).frame_rate == pytest.approx(50)
    assert of_pictures(*every(50, 0, 0.5)).frame_rate == pytest.approx(50)
    assert of_pictures((0.0, 9)).frame_rate == 0
    bursts = [picture for start in range(0, 90, 10) for picture in every(50, start, start + 0.8)]
    assert of_pictures(*bursts).frame_rate == pytest.approx(40)
    rounded = of_pictures(*((round(time, 3), size) for time, size in every(30000 / 1001, 0, 60)))
    assert rounded.frame_rate == pytest.approx(30, abs=0.05)


@pytest.mark.parametrize("rate", [24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60])
def test_a_film_does_not_exceed_its_own_rate(rate: float) -> None:
    times = tuple(number / rate - 0.2 for number in range(round(2 * 3600 * rate)))
    rounded = tuple(round(time, 3) for time in times)
    for film in (times, rounded):
        rates = Rates(film, 0.0, 0.0)
        assert not rates.exceeds(rate if rate == round(rate) else round(rate + 0.5))
        assert rates.exceeds(rate - 1)


def test_a_short_fast_part_exceeds_the_rate() -> None:
    assert of_pictures(*every(10, 0, 90), *every(50, 90, 90.2)).exceeds(24)
    assert not of_pictures(*every(10, 0, 90), *every(24, 90, 100)).exceeds(24)
