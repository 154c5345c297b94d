"""All that must hold after a run, whatever happened in it."""

from collections import Counter
from collections.abc import Callable, Iterable

from audit.auditor import audit
from saga_definitions.reversal import REVERSAL
from simulation import history
from simulation.answers import answers
from simulation.bank import Bank
from simulation.books import Books
from simulation.callers import Exchange
from simulation.children import children, stalled
from simulation.claimed import Claims, claimed
from simulation.courses import Courses, ends, order
from simulation.handled import handled
from simulation.history import Histories
from simulation.projection import projected, projected_up_to
from simulation.rare import told_by
from simulation.replays import replays
from simulation.settled import settled

MAX_TOLD = 20
"""Violations listed of each kind; one cause can break a rule hundreds of times."""


async def violations(bank: Bank, exchanges: list[Exchange]) -> list[str]:
    """What is wrong, one line each; empty when all is well."""
    histories = history.read(bank.log.records, bank.conditions.partitions)
    books, courses = Books(histories), Courses(histories)
    claims = Claims(histories)
    checks: tuple[Callable[[], Iterable[str]], ...] = (
        lambda: books.wrong,
        lambda: courses.wrong,
        lambda: ends(courses, books, stalled(courses)),
        lambda: children(courses),
        lambda: order(courses, histories),
        lambda: handled(histories),
        lambda: answers(histories, courses, exchanges),
        lambda: settled(histories, courses, bank.carrier.book) if bank.carrier else (),
        lambda: claimed(claims, courses),
        lambda: projected(bank.tables.rows, histories, books, courses),
        lambda: projected_up_to(bank.projected_before_healing, histories),
    )
    wrong = [one for check in checks for one in [*check()][:MAX_TOLD]]
    wrong += await replays(bank, histories.journals)
    wrong += await _audited(bank)
    bank.happened["lock waited for"] += claims.waited
    _count(bank.happened, histories, courses)
    return wrong


async def _audited(bank: Bank) -> list[str]:
    """The audit folds the journals in a way of its own and must come to the same verdict."""
    report = await audit(
        bank.log,
        effect_horizon_ms=bank.conditions.effect_horizon_ms,
        memory_ms=bank.conditions.saga_memory_ms,
    )
    return [f"audit: {violation}" for violation in report.violations[:MAX_TOLD]]


def _count(happened: Counter[str], histories: Histories, courses: Courses) -> None:
    """What the run reached, seen from its logs."""
    for journal in histories.journals:
        happened["void"] += journal.void
        happened["openings"] += journal.openings
        for fact in journal.facts:
            happened.update(told_by(fact))
    for state, number in courses.count().items():
        happened[f"saga_{state}"] += number
    for course in courses.by_id.values():
        if course.definition == REVERSAL.name:
            happened[f"reversal {course.state}"] += 1
