"""The chart of a benchmark shows all points."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.plot import line_chart

SVG = "{http://www.w3.org/2000/svg}"


def test_each_series_is_a_line_within_the_picture() -> None:
    series = {
        "plain <Jobs>": [(0.0, 0.0), (70.0, 1000.0)],
        "conversions": [(0.0, 0.0), (93.0, 9.0)],
    }
    root = ElementTree.fromstring(line_chart("seconds", "finished", series))  # noqa: S314
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    lines = [
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in root.iter(f"{SVG}polyline")
    ]
    assert [len(line) for line in lines] == [2, 2]
    for line in lines:
        assert all(0 <= x <= width and 0 <= y <= height for x, y in line)
    (_, bottom), (near, top) = lines[0]
    assert top < bottom
    assert near < lines[1][1][0]
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {"plain <Jobs>", "conversions", "seconds", "finished", "100", "1000"} <= texts


def test_a_chart_without_values_has_axes() -> None:
    assert "<polyline" not in line_chart("seconds", "finished", {})
