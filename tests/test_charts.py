"""Charts: what is drawn where."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from training import charts
from training.charts import bar_chart, heat_map, line_chart, scatter


def drawn(chart, tag):
    """Returns the attributes of all elements of a kind."""
    return [element.attrib for element in ElementTree.fromstring(chart).iter(tag)]


def lines(chart):
    return [
        [tuple(map(float, pair.split(","))) for pair in attributes["points"].split()]
        for attributes in drawn(chart, "polyline")
    ]


def ticks(chart, anchor):
    """Returns (text, its place) along the y axis ("end") or the x axis ("middle")."""
    axis = "x" if anchor == "middle" else "y"
    return [
        (element.text, float(element.attrib[axis]))
        for element in ElementTree.fromstring(chart).iter("text")
        if element.attrib["text-anchor"] == anchor and re.match("-?[0-9]", element.text)
    ]


def test_a_line_goes_through_its_points_to_scale():
    ((a, b, c),) = lines(line_chart("t", {"n": [(10, 5.0), (20, 11.0), (50, 8.0)]}, "x"))
    assert (c[0] - a[0]) / (b[0] - a[0]) == pytest.approx(4, abs=0.02)
    assert (c[1] - a[1]) / (b[1] - a[1]) == pytest.approx(0.5, abs=0.02)
    assert b[1] < c[1] < a[1]  # the larger, the higher


def test_ticks_stand_where_their_numbers_are():
    chart = line_chart("t", {"n": [(0, 0.0), (70, 3.0)]}, "x")
    ((start, end),) = lines(chart)
    for (text, place), low, high, most in (
        *((tick, start[0], end[0], 70) for tick in ticks(chart, "middle")),
        *((tick, start[1], end[1], 3) for tick in ticks(chart, "end")),
    ):
        assert place == pytest.approx(low + (high - low) * float(text) / most, abs=0.2)


@pytest.mark.parametrize("high", [3e-7, 0.0017, 0.9, 1.1, 5.3, 19, 740, 1e4, 3.7e6])
@pytest.mark.parametrize("low", [0.0, -0.4, 0.93])
def test_ticks_are_few_and_round(low, high):
    chart = line_chart("t", {"n": [(0, low * high), (1, high)]}, "x")
    texts = [text for text, _ in ticks(chart, "end")]
    assert 3 <= len(set(texts)) == len(texts) <= 8
    assert all(len(text) <= 8 for text in texts)


@pytest.mark.parametrize(
    "chart",
    [
        line_chart("t", {"n": [(1, 0.5), (2, 0.25), (3, 0.75)]}, "x"),
        bar_chart("t", [1, 2, 3, 4], 1, "x", "y"),
    ],
)
def test_between_whole_numbers_are_no_ticks(chart):
    texts = [text for text, _ in ticks(chart, "middle")]
    assert set(texts) >= {"1", "2", "3"} and all(text.isdigit() for text in texts)


def test_large_steps_are_written_short():
    chart = line_chart("t", {"n": [(0, 1.0), (3e6, 2.0)]}, "x")
    assert [text for text, _ in ticks(chart, "middle")] == ["0", "1M", "2M", "3M"]
    chart = line_chart("t", {"n": [(0, 1.0), (40_000, 2.0)]}, "x")
    assert [text for text, _ in ticks(chart, "middle")] == ["0", "10k", "20k", "30k", "40k"]


def test_values_that_never_change_are_a_level_line():
    ((a, b),) = lines(line_chart("t", {"n": [(1, 0.0), (2, 0.0)]}, "x"))
    assert a[1] == b[1] and a[0] < b[0]


def test_what_is_not_finite_is_left_out():
    points = [(1, 2.0), (2, float("nan")), (3, float("inf")), (4, 3.0)]
    ((_, _),) = lines(line_chart("t", {"n": points}, "x"))
    assert line_chart("t", {"n": points[1:3], "m": []}, "x") == ""
    assert scatter("t", points[1:3], "x", "y") == ""


def test_a_single_point_is_a_dot():
    chart = line_chart("t", {"n": [(1, 2.0)]}, "x")
    assert len(drawn(chart, "circle")) == 1 and not drawn(chart, "polyline")


def test_long_series_are_drawn_as_means_of_neighbours():
    points = [(x, float(x % 2)) for x in range(2 * charts.MAX_POINTS)]
    line, (low, high) = lines(line_chart("t", {"n": points, "range": [(0, 0.0), (9, 1.0)]}, "x"))
    assert len(line) == charts.MAX_POINTS
    assert [y for _, y in line] == pytest.approx([(low[1] + high[1]) / 2] * len(line), abs=0.1)


def test_a_series_keeps_its_color_where_others_have_no_points():
    series = {"training": [(1, 1.0), (2, 3.0)], "evaluation": [(1, 2.0), (2, 2.5)]}
    both = drawn(line_chart("t", series, "x"), "polyline")
    alone = drawn(line_chart("t", {**series, "training": []}, "x"), "polyline")
    assert both[0]["stroke"] != both[1]["stroke"] == alone[0]["stroke"]


def test_dots_of_equal_values_lie_on_the_line_of_a_scatter():
    chart = scatter("t", [(1.0, 1.0), (4.0, 4.0), (2.0, 5.0)], "gold", "predicted")
    dots = [(float(dot["cx"]), float(dot["cy"])) for dot in drawn(chart, "circle")]
    ((start, end),) = lines(chart)

    def height(x):
        return start[1] + (end[1] - start[1]) * (x - start[0]) / (end[0] - start[0])

    assert [y - height(x) for x, y in dots[:2]] == pytest.approx([0, 0], abs=0.2)
    assert dots[2][1] < height(dots[2][0]) - 1


def test_a_scatter_says_how_many_dots_it_leaves_out(monkeypatch):
    monkeypatch.setattr(charts, "MAX_DOTS", 7)
    chart = scatter("t", [(float(x), 2.0 * x) for x in range(20)], "x", "y")
    assert len(drawn(chart, "circle")) == 7
    assert "one in 3 of 20" in chart


def bars(chart):
    """Returns (left, right, height, text) of all bars."""
    for path in ElementTree.fromstring(chart).iter("path"):
        left, base, top, right = map(float, re.findall("[0-9.]+", path.attrib["d"])[:4])
        yield left, right, base - top, path.find("title").text


def test_bars_are_as_high_as_their_numbers():
    *_, heights, texts = zip(*bars(bar_chart("t", [1.0, 0.0, 4.0], 1, "x", "y")), strict=True)
    assert heights[1] == 0 and heights[2] / heights[0] == pytest.approx(4, abs=0.01)
    assert texts == ("0: 1 y", "1: 0 y", "2: 4 y")


def test_bars_stand_over_their_numbers():
    chart = bar_chart("t", [1.0] * 7, 5, "x", "y")
    places = {int(text): place for text, place in ticks(chart, "middle")}
    (a, b, *_), *_, (c, d, _, text) = bars(chart)
    assert text == "30 to 34: 1 y" and len(places) >= 3
    unit = (c - a) / 30
    assert places[10] == pytest.approx(a + unit * 10.45, abs=0.2)
    assert b - a == pytest.approx(unit * 4.9, abs=0.2) and d > c


def test_bars_of_nothing_are_flat():
    assert [height for *_, height, _ in bars(bar_chart("t", [0, 0], 1, "x", "y"))] == [0, 0]


def test_a_heat_map_shades_by_the_share_of_the_row():
    counts = {("a", "a"): 3, ("a", "b"): 1, ("a", "c"): 4, ("b", "b"): 1200}
    text = heat_map(counts, ["a", "b", "z"], ["a", "b"], "corner")
    cells = re.findall(r'<td style="--share: (.*?)">([0-9,]+)', text)
    assert cells == [
        *(("0.375", "3"), ("0.125", "1"), ("0.000", "0")),
        *(("1.000", "1,200"), ("0.000", "0"), ("0.000", "0")),
    ]


@pytest.mark.parametrize(
    "chart",
    [
        lambda text: line_chart(text, {text: [(1, 2.0)]}, text),
        lambda text: scatter(text, [(1.0, 2.0)], text, text),
        lambda text: bar_chart(text, [1], 1, text, text),
        lambda text: heat_map({}, [text], [text], text),
    ],
)
def test_names_stay_text(chart):
    made = chart("<script>&\"'")
    assert "<script" not in made and "&lt;script&gt;&amp;&quot;&#x27;" in made
