"""The option --api of the commands that speak to the API, and what it means when it is left out."""

import os
from typing import Annotated

from cyclopts import Parameter

from makegood.running import running_bank

ApiUrl = Annotated[
    str | None,
    Parameter(
        help="The API's address. Default: MAKEGOOD_API_URL, else the bank that `makegood up` runs."
    ),
]


def api_url(given: str | None) -> str:
    found = running_bank()
    return (
        given
        or os.environ.get("MAKEGOOD_API_URL")
        or (found.api_url if found else "http://127.0.0.1:8080")
    )
