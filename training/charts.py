"""Charts as SVG for `training.pages`: small enough to be drawn at their own size on a phone, in the page's colours."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from training.pages import apart, escape

Point = tuple[float, float]

MAX_POINTS = 300  # of a line; of more, the means of neighbours are drawn
MAX_DOTS = 3000  # of a scatter plot; of more, each n-th is drawn
NUM_COLORS = 4
LEVEL_NAMES = 6  # of columns of a heat map; the names of more stand upright

# Units of the drawing, which are pixels where the page gives it its full width.
_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 350, 10, 185

STYLE = """\
:root { --series-0: #0b62c4; --series-1: #b35900; --series-2: #1a7f37; --series-3: #8250df; }
@media (prefers-color-scheme: dark) {
  :root { --series-0: #58a6ff; --series-1: #f0a040; --series-2: #4ac26b; --series-3: #c297ff; } }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: .75rem; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: 0; padding: .6rem;
  min-width: 0; }
figcaption { font-weight: 600; font-size: .875rem; }
svg { display: block; width: 100%; max-width: 30rem; height: auto; font-size: 12px; }
svg text { fill: var(--faint); } svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.legend { margin: 0; font-size: .8rem; color: var(--faint); } .legend span { margin-inline-end: 1rem; }
.legend b { display: inline-block; width: 1em; height: .2em; vertical-align: middle; margin-inline-end: .3em; }
.heat { font-size: .875rem; } .heat th { font-weight: 400; } .heat td, .heat th { padding: .3rem .6rem; }
.dense th + th { writing-mode: vertical-rl; rotate: 180deg; vertical-align: middle; } .dense th { white-space: nowrap; }
.heat td { text-align: end; border: 1px solid var(--line);
  background: color-mix(in srgb, var(--series-0) calc(var(--share) * 60%), transparent); }
"""


class _Axis(NamedTuple):
    """Values from `low` to `high`, drawn from `start` to `end`; there are none between ticks of `least_step`."""

    low: float
    high: float
    start: float
    end: float
    least_step: float = 0.0

    def place(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f"{self.start + share * (self.end - self.start):.1f}"

    def ticks(self) -> list[float]:
        """Returns three to eight round numbers, or fewer if the least step is that large."""
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 3))
        step *= max((k for k in (2, 5) if (self.high - self.low) / (step * k) >= 3), default=1)
        step = max(step, self.least_step)
        places = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [float(f"{place * step:.10g}") for place in places]


def line_chart(title: str, series: Mapping[str, Sequence[Point]], x_label: str) -> str:
    """Returns a figure with a line for each series, and a dot where a series has one point only.

    Args:
      title: plain text.
      series: points by name, x ascending whole numbers; those that are not finite are left out. A series has the
        colour of its place, so that the same names have the same colours in other charts, even without points.
      x_label: plain text.

    Returns:
      HTML; empty if there is no point.
    """
    colors = {name: _color(place) for place, name in enumerate(series)}
    series = {name: _thinned(_finite(points)) for name, points in series.items()}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    x, y = _axes([point for points in series.values() for point in points])
    x = x._replace(least_step=1.0)
    lines = "".join(_line(points, x, y, colors[name]) for name, points in series.items())
    legend = "".join(
        f'<span><b style="background: {colors[name]}"></b>{apart(name)}</span>' for name in series
    )
    return _figure(title, _grid(x, y, x_label) + lines, f'<p class="legend">{legend}</p>\n')


def scatter(title: str, points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Returns a figure with a dot for each point and the line of equal x and y; both axes are the same.

    Returns:
      HTML; empty if no point is finite.
    """
    points = _finite(points)
    if not points:
        return ""
    step = -(-len(points) // MAX_DOTS)
    ends = [value for point in points for value in point]
    x, y = _axes([(min(ends),) * 2, (max(ends),) * 2])
    dots = "".join(
        f'<circle cx="{x.place(a)}" cy="{y.place(b)}" r="2.5" fill="{_color(0)}" fill-opacity=".45"/>'
        for a, b in points[::step]
    )
    diagonal = _line([(x.low, x.low), (x.high, x.high)], x, y, _color(1))
    note = f'<p class="legend">one in {step} of {len(points):,}</p>\n' if step > 1 else ""
    return _figure(title, _grid(x, y, x_label, y_label) + dots + diagonal, note)


def bar_chart(title: str, heights: Sequence[float], width: int, x_label: str, y_label: str) -> str:
    """Returns a figure with a bar for each height, and what it stands for where a pointer rests on it.

    Args:
      heights: at least one, none below 0; the n-th stands for the whole numbers from n * width on, `width` of them.
      x_label: plain text.
      y_label: the unit of the heights, plain text.
    """
    x = _Axis(-0.5, len(heights) * width - 0.5, _LEFT, _RIGHT, least_step=1.0)
    y = _Axis(0.0, max(heights) or 1.0, _BOTTOM, _TOP)
    bars = []
    for place, height in enumerate(heights):
        first, last = place * width, (place + 1) * width - 1
        numbers = f"{first}" if first == last else f"{first} to {last}"
        bars.append(
            f'<path d="M{x.place(first - 0.45)},{_BOTTOM}V{y.place(height)}H{x.place(last + 0.45)}V{_BOTTOM}Z" '
            f'fill="{_color(0)}"><title>{numbers}: {height:.3g} {escape(y_label)}</title></path>\n'
        )
    return _figure(title, _grid(x, y, x_label, y_label) + "".join(bars), "")


def heat_map(
    counts: Mapping[tuple[str, str], int], rows: Sequence[str], columns: Sequence[str], corner: str
) -> str:
    """Returns a table of counts, each the darker, the larger its share of its row.

    Args:
      counts: by (row, column); one that is not there is 0.
      rows: their names; a row's shares are of its counts in all columns, whether they are shown or not.
      columns: their names.
      corner: what rows and columns are, plain text.
    """
    totals = dict.fromkeys(rows, 0)
    for (row, _), count in counts.items():
        if row in totals:
            totals[row] += count
    head = "".join(f"<th>{apart(column)}" for column in columns)
    body = "".join(
        f"<tr><th>{apart(row)}"
        + "".join(_heat_cell(counts.get((row, column), 0), totals[row]) for column in columns)
        + "\n"
        for row in rows
    )
    kind = "heat dense" if len(columns) > LEVEL_NAMES else "heat"
    return f'<div class="wide"><table class="{kind}">\n<tr><th>{escape(corner)}{head}\n{body}</table></div>\n'


def _heat_cell(count: int, total: int) -> str:
    return f'<td style="--share: {count / max(total, 1):.3f}">{count:,}'


def _finite(points: Iterable[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thinned(points: list[Point]) -> list[Point]:
    if len(points) <= MAX_POINTS:
        return points
    groups = np.array_split(np.array(points), MAX_POINTS)
    return [tuple(group.mean(0).tolist()) for group in groups]


def _axes(points: Sequence[Point]) -> tuple[_Axis, _Axis]:
    xs, ys = zip(*points, strict=True)
    return _Axis(*_range(xs), _LEFT, _RIGHT), _Axis(*_range(ys), _BOTTOM, _TOP)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or abs(low) * 0.1 or 1.0
    return low - margin, high + margin


def _grid(x: _Axis, y: _Axis, x_label: str, y_label: str = "") -> str:
    lines = []
    for value in y.ticks():
        place = y.place(value)
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{place}" y2="{place}"/>'
            f'<text x="{_LEFT - 5}" y="{place}" text-anchor="end" dominant-baseline="middle">{_tick(value)}</text>'
        )
    for value in x.ticks():
        lines.append(
            f'<text x="{x.place(value)}" y="{_BOTTOM + 15}" text-anchor="middle">{_tick(value)}</text>'
        )
    right, up = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    labels = (
        (f'x="{right}" y="{_HEIGHT - 5}"', x_label),
        (f'transform="rotate(-90) translate({-up} 10)"', y_label),
    )
    lines += [
        f'<text {place} text-anchor="middle">{escape(label)}</text>'
        for place, label in labels
        if label
    ]
    return "\n".join(lines) + "\n"


def _tick(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:.6g}"


def _line(points: Sequence[Point], x: _Axis, y: _Axis, color: str) -> str:
    if len(points) == 1:
        ((a, b),) = points
        return f'<circle cx="{x.place(a)}" cy="{y.place(b)}" r="3.5" fill="{color}"/>\n'
    places = " ".join(f"{x.place(a)},{y.place(b)}" for a, b in points)
    return f'<polyline points="{places}" stroke="{color}"/>\n'


def _color(place: int) -> str:
    return f"var(--series-{place % NUM_COLORS})"


def _figure(title: str, drawing: str, legend: str) -> str:
    return (
        f"<figure>\n<figcaption>{escape(title)}</figcaption>\n"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">\n{drawing}</svg>\n'
        f"{legend}</figure>\n"
    )
