"""What the demo asks for is what the definitions take."""

from datetime import UTC, datetime

import pytest

from makegood.demo_shapes import Shape, shapes
from saga_definitions.registry import shipped


@pytest.mark.parametrize("shape", shapes(datetime.now(UTC)), ids=lambda shape: shape.what)
def test_a_shape_of_the_demo_has_good_params(shape: Shape):
    params = dict(shape.body)
    definition = shipped().latest(params.pop("definition"))
    assert definition is not None
    assert definition.check_params(params) == []
