"""What the demo asks for is what the definitions take."""

from datetime import UTC, datetime

import pytest

from makegood.demo_payouts import SETTLEMENT
from makegood.demo_shapes import Shape, shapes
from saga_definitions.registry import configured

_REGISTRY = configured({"EUR": SETTLEMENT})


@pytest.mark.parametrize("shape", shapes(datetime.now(UTC)), ids=lambda shape: shape.what)
def test_a_shape_of_the_demo_has_good_params(shape: Shape):
    params = dict(shape.body)
    definition = _REGISTRY.latest(params.pop("definition"))
    assert definition is not None
    assert definition.check_params(params) == []


def test_every_definition_that_ships_has_a_place_in_the_demo():
    asked = {shape.body["definition"] for shape in shapes(datetime.now(UTC))}
    # Those of the file; those that refer to a transfer that was made; and the step of another one.
    elsewhere = {"transfer", "reversal", "fee"}
    assert asked | elsewhere == set(_REGISTRY.names())
