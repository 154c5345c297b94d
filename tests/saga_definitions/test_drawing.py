"""Pictures of definitions: everything is there, nothing lies on top of another thing, nothing in a
label is markup; and those in the docs are of the definitions that ship."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import msgspec
import pytest

from saga_definitions.description import mermaid
from saga_definitions.drawing import svg
from saga_definitions.dsl import Definition
from saga_definitions.registry import configured
from saga_definitions.transfer import TRANSFER
from tests.orchestrator.graphs import graph, node

DOCS = Path(__file__).parents[2] / "docs" / "definitions.md"
REGISTRY = configured({"EUR": "settlement-eur"})
SVG = "{http://www.w3.org/2000/svg}"
WIDE = graph(
    *(node(f"first_{n}") for n in range(3)),
    node("middle", "first_0", "first_2"),
    node("last", "middle", "first_1", "first_0"),
    node("alone"),
)


class Box(NamedTuple):
    x: float
    y: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        return self.x < x < self.right and self.y < y < self.bottom


def drawn(definition: Definition) -> ElementTree.Element:
    return ElementTree.fromstring(svg(definition))


def boxes(picture: ElementTree.Element) -> list[Box]:
    found: list[Box] = []
    for rect in picture.iter(f"{SVG}rect"):
        x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        found.append(Box(x, y, x + width, y + height))
    return found


def points(path: str) -> list[tuple[float, float]]:
    """Points along an edge's path: M, C and H."""
    x = y = 0.0
    found: list[tuple[float, float]] = []
    for kind, text in re.findall(r"([MCH])([^MCH]*)", path):
        to = [float(number) for number in text.split()]
        if kind == "C":
            (x1, y1, x2, y2, x3, y3), steps = to, [n / 20 for n in range(21)]
            for t in steps:
                a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
                found.append((a * x + b * x1 + c * x2 + d * x3, a * y + b * y1 + c * y2 + d * y3))
            x, y = x3, y3
        else:
            start, x = x, to[0]
            y = to[1] if kind == "M" else y
            found += [(start + (x - start) * n / 20, y) for n in range(21) if kind == "H"]
    return found


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_step_and_what_it_waits_for_is_drawn(name: str) -> None:
    definition = REGISTRY.find(name)
    picture = drawn(definition)
    groups = [[text.text for text in g.iter(f"{SVG}text")] for g in picture.iter(f"{SVG}g")]
    steps = definition.plan.steps
    assert [texts[0] for texts in groups] == [step.name for step in steps]
    for texts, step in zip(groups, steps, strict=True):
        begins = [(text or "").partition(" ")[0] for text in texts[2:]]
        assert begins == ["for"] * bool(step.each) + ["undo:"] * (step.undo is not None)
    edges = [one for one in picture.iter(f"{SVG}path") if one.attrib["class"] == "edge"]
    assert len(edges) == sum(len(step.after) for step in steps)
    pivots = [one for one in picture.iter() if one.get("class") == "pivot"]
    assert len(pivots) == sum(step.pivot for step in steps)


def test_nothing_lies_on_top_of_another_thing_or_outside() -> None:
    picture = drawn(WIDE)
    found = boxes(picture)
    assert len(found) == 6
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert all(b.x > 0 and b.y > 0 and b.right < width and b.bottom < height for b in found)
    for one, other in combinations(found, 2):
        beside = one.right <= other.x or other.right <= one.x
        assert beside or one.bottom <= other.y or other.bottom <= one.y
    edges = [one.attrib["d"] for one in picture.iter(f"{SVG}path") if one.get("class") == "edge"]
    for edge in edges:
        # Also one that passes a column passes between its boxes.
        assert not any(box.holds(*point) for point in points(edge) for box in found)
    for group in picture.iter(f"{SVG}g"):
        (box,) = boxes(group)
        for text in group.iter(f"{SVG}text"):
            assert box.holds(float(text.attrib["x"]), float(text.attrib["y"]))
            assert float(text.attrib["x"]) + 7.3 * len(text.text or "") < box.right


def test_what_stands_in_a_label_is_no_markup() -> None:
    plan = TRANSFER.plan
    assert plan.steps[0].do is not None
    do = msgspec.structs.replace(plan.steps[0].do, type='x.</text><script>"&.v1')
    steps = (msgspec.structs.replace(plan.steps[0], do=do), *plan.steps[1:])
    hostile = replace(TRANSFER, plan=msgspec.structs.replace(plan, steps=steps))
    texts = [text.text for text in drawn(hostile).iter(f"{SVG}text")]
    assert '</text><script>"&' in texts
    assert "<script>" not in mermaid(hostile)
    assert 'step_debit["<b>debit</b><br/>&lt;/text&gt;' in mermaid(hostile)


def test_the_pictures_in_the_docs_are_of_the_definitions_that_ship() -> None:
    """To renew one: `makegood definitions graph NAME`."""
    text = DOCS.read_text(encoding="utf-8")
    found = dict(re.findall(r"^### `(\w+)`\n.*?```mermaid\n(.*?)\n```", text, re.DOTALL | re.M))
    assert found == {name: mermaid(REGISTRY.find(name)) for name in REGISTRY.names()}
