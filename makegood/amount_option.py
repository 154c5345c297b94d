"""An amount on the command line: whole minor units in decimal digits, and nothing that is like it.

The command line library alone rounds "5.5" to 6, which is neither of what somebody may have meant.
"""

import re
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


def whole_minor_units(_: object, tokens: Sequence[Token]) -> int:
    """The number that is written. ValueError when it is not a whole one of at most 19 digits, or
    negative: no amount and no limit is."""
    text = tokens[0].value
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a whole number of minor units: for 5.50 EUR write 550")
    if int(text) < 0:
        raise ValueError(f"{text!r} is negative: the command says which way the money goes")
    return int(text)


AmountMinor = Annotated[int, Parameter(converter=whole_minor_units)]
