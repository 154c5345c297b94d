"""The reversals, held against the transfers that they say they give back: the original is
completed, it was between these accounts in this currency, and all that was given back of it is at
most its amount. It takes neither the API's nor the claims' word for it.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from audit.cases import Cases
from audit.report import Findings
from journal.log import Place
from messages.saga import SagaCompleted, SagaStarted
from saga_definitions.reversal import REVERSAL

NAME: Final = REVERSAL.name


class _Reversal(NamedTuple):
    """`facts`: what the original's have to be, as in `audit.case.Case`."""

    saga_id: str
    original: str
    amount: int
    total: int
    facts: int
    place: Place
    offset: int


class Reversals:
    """Takes the sagas' events on their way to `cases`."""

    def __init__(self, cases: Cases, findings: Findings) -> None:
        self._cases = cases
        self._findings = findings
        self._started: list[_Reversal] = []
        self._running: dict[str, _Reversal] = {}
        self._given_back: dict[str, int] = {}

    def fold(self, event: Any, place: Place, offset: int) -> None:
        self._cases.fold(event, place, offset)
        if type(event) is SagaStarted and event.plan.definition == NAME:
            one = _reversal(event, place, offset)
            self._started.append(one)
            self._running[one.saga_id] = one
        elif type(event) is SagaCompleted and event.saga_id in self._running:
            self._completed(self._running.pop(event.saga_id), place, offset)

    def _completed(self, one: _Reversal, place: Place, offset: int) -> None:
        given_back = self._given_back.get(one.original, 0) + one.amount
        self._given_back[one.original] = given_back
        if given_back > one.total:
            expected = f"at most {one.total} given back of {one.original}"
            subject = f"saga {one.saga_id}"
            self._findings.add("reversal_total", place, offset, subject, expected, f"{given_back}")

    def judge(self, may_be_early: Callable[[Place, int], bool]) -> None:
        """When everything is read. `may_be_early`: whether what a saga that starts there relies on
        may not be read."""
        for one in self._started:
            if may_be_early(one.place, one.offset):
                continue
            lives = self._cases.lives(one.original)
            matching = [life for life in lives if life.facts == one.facts]
            if not any(life.outcome.state == "completed" for life in matching):
                states = ", ".join(life.outcome.state for life in lives) or "none"
                self._findings.add(
                    "reversal_original",
                    one.place,
                    one.offset,
                    f"saga {one.saga_id}",
                    f"a completed transfer {one.original}, which this gives back",
                    f"{len(matching)} with these accounts and this amount; of this id: {states}",
                )


def _reversal(event: SagaStarted, place: Place, offset: int) -> _Reversal:
    of = event.params
    amount, total = of.get("amount_minor", 0), of.get("total_minor", 0)
    facts = hash((of.get("target"), of.get("source"), total, of.get("currency")))
    return _Reversal(event.saga_id, of.get("original", ""), amount, total, facts, place, offset)
