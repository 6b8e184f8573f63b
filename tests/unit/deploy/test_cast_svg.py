"""The picture of the terminal in README.md, and the recording that it is drawn from."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from hack.cast_svg import Recording, draw, parse_cast
from tests.unit.deploy.rendering import ROOT

FOLDER = ROOT / "docs/pictures"
SVG = "{http://www.w3.org/2000/svg}"
RECORDING = Recording(
    40,
    3,
    ((0.5, "\x1b[1m$\x1b[0m"), (1.0, " a <b>\r\n"), (2.0, "\x1b[31mone\x1b[0m two\nthree\nfour\n")),
)


def texts(svg: str) -> dict[str, str]:
    """Each piece of text, and its style. The first one is the title."""
    root = ElementTree.fromstring(svg)  # noqa: S314 our own
    _, *found = root.iter(f"{SVG}text")
    return {str(each.text): each.get("style", "") for each in found}


def test_each_piece_appears_when_it_was_written() -> None:
    assert parse_cast(RECORDING.dump()) == RECORDING
    svg = draw(RECORDING, "a & b")
    assert {text: style.partition(":")[2] for text, style in texts(svg).items()} == {
        **{"$": "0.50s", " a <b>": "1.00s"},
        **dict.fromkeys(("one", " two", "three", "four"), "2.00s"),
    }
    # The lines move up when there is no more room, and the last screen stays.
    assert "translateY(-19px)" in svg
    assert "infinite" not in svg


def test_who_wants_no_motion_sees_the_last_screen() -> None:
    moving, still = draw(RECORDING, "a"), draw(RECORDING, "a", moves=False)
    assert "prefers-reduced-motion:reduce" in moving
    assert "animation:" not in still
    assert "@keyframes" not in still
    assert texts(still).keys() == texts(moving).keys()
    assert 'style="transform:translateY(-19px)"' in still


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x07", "\t"])
def test_what_cannot_be_drawn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="only colours and line breaks"):
        parse_cast(Recording(80, 24, ((0.0, text),)).dump())


def test_the_pictures_are_those_of_the_recording_and_load_nothing() -> None:
    recording = parse_cast((FOLDER / "plugin.cast").read_text(encoding="utf-8"))
    for name, moves in (("plugin.svg", True), ("plugin-still.svg", False)):
        svg = (FOLDER / name).read_text(encoding="utf-8")
        assert svg == draw(recording, "kubectl conversion", moves=moves)
        assert len(svg) < 300_000
        assert "url(" not in svg
        assert "href" not in svg
        assert "<script" not in svg
