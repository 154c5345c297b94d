"""`python -m chaos.roles ROLE`: a process of the bank as a chaos run starts it, which does not wait
for approvals longer than a run can and whose clock can be moved; and the participant outside, which
is no role of the bank.
"""

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import uvloop

from chaos.clocks import follow
from makegood.bank import ROLES as BANKS_ROLES
from makegood.logs import configure_logs
from makegood.roles import ROLES, run_api, run_orchestrator, until_stopped
from makegood.settings import Settings, load_settings
from saga_definitions.approved_transfer import approved_transfer

SETTLEMENT: Final = "settlement-eur"
SETTINGS: Final = {"payout_accounts": f'{{"EUR": "{SETTLEMENT}"}}'}
"""The bank's, so that it pays out at all."""

PAYMENTS_VARIABLE: Final = "CHAOS_PAYMENTS"
"""Names the folder of the participant's own record of payments."""

OUTSIDE: Final = "outside"
FREE_UP_TO_MINOR: Final = 50
SILENCE_S: Final = 6.0

_MORE: Final = (
    approved_transfer(2, free_up_to_minor=FREE_UP_TO_MINOR, silence_ms=round(SILENCE_S * 1_000)),
)


async def _outside(settings: Settings) -> None:
    from chaos.outside import run_outside
    from chaos.payments import Payments

    await run_outside(settings, Payments(Path(os.environ[PAYMENTS_VARIABLE])))


_ROLES: Final[dict[str, Callable[[Settings], Coroutine[Any, Any, None]]]] = {
    **ROLES,
    "orchestrator": lambda settings: run_orchestrator(settings, _MORE),
    "api": lambda settings: run_api(settings, _MORE),
    OUTSIDE: _outside,
}
PROGRAMS: Final = dict.fromkeys((*BANKS_ROLES, OUTSIDE), "chaos.roles")
"""For `makegood.bank.Bank`."""


def main() -> None:
    settings = load_settings()
    follow()
    configure_logs(settings.log_format, settings.log_level)
    uvloop.run(until_stopped(_ROLES[sys.argv[1]](settings)))


if __name__ == "__main__":
    main()
