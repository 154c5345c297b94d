"""A definition's steps as a picture in SVG: from left to right, each behind those it waits for.

A layered layout: a step's column is its longest way from the start, an edge that passes columns has
a place of its own in each of them, and places are ordered by where they come from.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from messages.plan import PlannedStep
from saga_definitions.description import label
from saga_definitions.dsl import Definition

_LETTER: Final = 7.3
"""The width of one letter: 12 px high, of a font in which all are equally wide."""
_LINE: Final = 16
_PAD_X: Final = 16
_PAD_Y: Final = 9
_GAP_X: Final = 48
_GAP_Y: Final = 14
_EDGE: Final = 6
"""The height of the place of an edge in passing."""
_MARGIN: Final = 6

_STYLE: Final = (
    "text{font:12px ui-monospace,monospace;fill:#1f2328}text:first-of-type{font-weight:bold}"
    ".step{fill:#f6f8fa;stroke:#57606a}.pivot{fill:#ddf4ff;stroke:#0969da}"
    ".edge{fill:none;stroke:#57606a}.tip{fill:#57606a}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.step{fill:#161b22;stroke:#8b949e}"
    ".pivot{fill:#0c2d6b;stroke:#58a6ff}.edge{stroke:#8b949e}.tip{fill:#8b949e}}"
)


class _Place(NamedTuple):
    """Of a step; or in a column that the edge from it to the step `to` passes."""

    column: int
    step: str
    to: str = ""


class _Box(NamedTuple):
    """In px; `x` and `y` of the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def svg(definition: Definition) -> str:
    """One SVG element that needs nothing else. The pivot is a hexagon, what comes after it is
    round, a wait is a flag, and what takes a step back stands below it."""
    plan = definition.plan
    steps = {step.name: step for step in plan.steps}
    column = _columns(plan.steps)
    ways = [
        _way(before, step.name, column[before], column[step.name])
        for step in plan.steps
        for before in step.after
    ]
    places = [_Place(column[name], name) for name in steps]
    places += [passed for way in ways for passed in way[1:-1]]
    boxes = _boxes(_in_order(places, ways), {name: label(step) for name, step in steps.items()})
    width = max(box.right for box in boxes.values()) + _MARGIN
    height = max(box.y + box.height for box in boxes.values()) + _MARGIN
    names = escape(f"{plan.definition}@{plan.version}: {', '.join(steps)}")
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" '
            f'height="{height:g}" viewBox="0 0 {width:g} {height:g}">',
            f"<title>{names}</title>",
            f"<style>{_STYLE}</style>",
            *(_edge([boxes[place] for place in way]) for way in ways),
            *(_node(step, boxes[_Place(column[name], name)]) for name, step in steps.items()),
            "</svg>",
        )
    )


def _columns(steps: Sequence[PlannedStep]) -> dict[str, int]:
    column: dict[str, int] = {}
    for step in steps:
        column[step.name] = 1 + max((column[before] for before in step.after), default=-1)
    return column


def _way(before: str, step: str, start: int, end: int) -> list[_Place]:
    """From column `start` to column `end`."""
    passed = [_Place(column, before, step) for column in range(start + 1, end)]
    return [_Place(start, before), *passed, _Place(end, step)]


def _in_order(places: Sequence[_Place], ways: Sequence[list[_Place]]) -> list[list[_Place]]:
    """The places of each column from top to bottom: each as high as where it comes from."""
    come_from: dict[_Place, list[_Place]] = {place: [] for place in places}
    for way in ways:
        for before, place in pairwise(way):
            come_from[place].append(before)
    columns: list[list[_Place]] = [[] for _ in range(1 + max(place.column for place in places))]
    for place in places:
        columns[place.column].append(place)
    rank: dict[_Place, float] = {}
    for column in columns:
        column.sort(key=lambda place: _mean([rank[before] for before in come_from[place]]))
        for number, place in enumerate(column):
            rank[place] = number - len(column) / 2
    return columns


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0


def _boxes(columns: Sequence[Sequence[_Place]], labels: dict[str, list[str]]) -> dict[_Place, _Box]:
    """Every column in the middle of the picture's height."""
    heights = [[_height(labels, place) for place in column] for column in columns]
    tall = max(sum(column) + _GAP_Y * (len(column) - 1) for column in heights)
    boxes: dict[_Place, _Box] = {}
    x = float(_MARGIN)
    for column, high in zip(columns, heights, strict=True):
        letters = max(len(line) for place in column if not place.to for line in labels[place.step])
        width = letters * _LETTER + 2 * _PAD_X
        y = _MARGIN + (tall - sum(high) - _GAP_Y * (len(column) - 1)) / 2
        for place, height in zip(column, high, strict=True):
            boxes[place] = _Box(x, y, width, height)
            y += height + _GAP_Y
        x += width + _GAP_X
    return boxes


def _height(labels: dict[str, list[str]], place: _Place) -> float:
    return _EDGE if place.to else len(labels[place.step]) * _LINE + 2 * _PAD_Y


def _edge(way: Sequence[_Box]) -> str:
    path = f"M{way[0].right:g} {way[0].middle:g}"
    for left, right in pairwise(way):
        bend = _GAP_X / 2
        if left is not way[0]:
            path += f"H{left.right:g}"
        path += (
            f"C{left.right + bend:g} {left.middle:g} {right.x - bend:g} {right.middle:g} "
            f"{right.x:g} {right.middle:g}"
        )
    end = f"M{way[-1].x:g} {way[-1].middle:g}l-8 -4v8z"
    return f'<path class="edge" d="{path}"/><path class="tip" d="{end}"/>'


def _node(step: PlannedStep, box: _Box) -> str:
    first = box.y + _PAD_Y + _LINE * 0.75
    lines = "".join(
        f'<text x="{box.x + _PAD_X:g}" y="{first + number * _LINE:g}">{escape(line)}</text>'
        for number, line in enumerate(label(step))
    )
    return f"<g>{_shape(step, box)}{lines}</g>"


def _shape(step: PlannedStep, box: _Box) -> str:
    x, y, width, height = box
    if step.pivot:
        half, slant = height / 2, _PAD_X * 0.7
        path = (
            f"M{x + slant:g} {y:g}H{box.right - slant:g}L{box.right:g} {y + half:g}"
            f"L{box.right - slant:g} {y + height:g}H{x + slant:g}L{x:g} {y + half:g}Z"
        )
        return f'<path class="pivot" d="{path}"/>'
    if step.do is None:
        notch = _PAD_X * 0.7
        path = f"M{x:g} {y:g}H{box.right:g}v{height:g}H{x:g}l{notch:g} {-height / 2:g}Z"
        return f'<path class="step" d="{path}"/>'
    radius = 4 if step.undo is not None else height / 2
    return (
        f'<rect class="step" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
        f'rx="{radius:g}"/>'
    )
