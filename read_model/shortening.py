"""Long lists among a saga's parameters, cut off for those who look at it: a payroll may have 10,000
legs. The whole list stands in the journal, and its legs can be had page by page.
"""

from collections.abc import Mapping
from typing import Any, Final

MAX_ELEMENTS: Final = 20
"""Elements of a list that are shown."""


def shortened(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with at most `MAX_ELEMENTS` of each list; of a longer one `<name>.left_out`,
    which no parameter can be called, says how many more there are."""
    shown: dict[str, Any] = {}
    for name, value in params.items():
        shown[name] = value
        if isinstance(value, list) and len(value) > MAX_ELEMENTS:  # pyright: ignore[reportUnknownArgumentType]
            shown[name] = value[:MAX_ELEMENTS]
            shown[f"{name}.left_out"] = len(value) - MAX_ELEMENTS  # pyright: ignore[reportUnknownArgumentType]
    return shown
