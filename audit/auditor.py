"""Reads the journals from offset 0 to their ends, folds them and gives the verdict.

The bank may be at work meanwhile, so what is read must be a possible moment of it. The ends are
taken in this order: sagas (the `relied_on` cut), accounts and claims (the `cut`), sagas, accounts
and claims again. Then whatever a saga was told is in the others' journals as far as they are read;
whatever these did before their cut was asked for in the sagas' journals as far as those are read;
and whatever a saga did or was told before the `relied_on` cut, that others have to do with, be it
what it relies on, its parent or its children, is in theirs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.accounts import Accounts
from audit.case import Case, Closed
from audit.cases import Cases
from audit.claims import Claims
from audit.history import Histories
from audit.journals import (
    ACCOUNT_INPUT,
    ACCOUNTS,
    CLAIM_INPUT,
    CLAIMS,
    JOURNAL_OF,
    SAGA_INPUT,
    SAGAS,
    Journal,
    Keeper,
)
from audit.report import (
    MAX_LISTED,
    Counts,
    Findings,
    InFlight,
    PendingLink,
    Report,
    Totals,
    listed,
)
from audit.reversals import Reversals
from audit.rows import Rows, rows
from audit.verdict import Problem, problems
from journal.log import Log, Place

_DAY_MS: Final = 24 * 3600 * 1000
EFFECT_HORIZON_MS: Final = 7 * _DAY_MS
SAGA_MEMORY_MS: Final = 8 * _DAY_MS

_READ_RECORDS: Final = 5_000
_STALLED_S: Final = 60.0


class CannotAudit(Exception):
    """There is nothing to audit, or it can't be read to its end."""


async def audit(
    log: Log,
    engine: AsyncEngine | None = None,
    *,
    effect_horizon_ms: int = EFFECT_HORIZON_MS,
    memory_ms: int = SAGA_MEMORY_MS,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Audit the bank whose journals are in `log`; with `engine`, its read model too.

    `effect_horizon_ms`, `memory_ms`: the horizons that the services run with. `progress` is told
    how many of how many records are read. Raises CannotAudit, LogError, DBAPIError.
    """
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        read_model = None if engine is None else await stack.enter_async_context(rows(engine))
        histories = Histories()
        keep = None if read_model is None else histories.add
        books = await _Books.open(log, effect_horizon_ms, memory_ms, keep)
        books.progress = progress
        if read_model is not None:
            await books.read({p: at.next_offset for p, at in read_model.positions.items()})
            await _compare(read_model, books, histories)
        await books.read({place: journal.end for place, journal in books.journals.items()})
    return books.report(read_model, time.monotonic() - began)


async def _compare(read_model: Rows, books: "_Books", histories: Histories) -> None:
    for place, at in sorted(read_model.positions.items()):
        journal = books.journals.get(place)
        found = f"offset {at.next_offset}, epoch {at.epoch}"
        if journal is None:
            books.findings.add("projection", "positions", None, str(place), "no row", found)
        elif (journal.next_offset, journal.epoch) != (at.next_offset, at.epoch):
            expected = f"offset {journal.next_offset}, epoch {journal.epoch}"
            books.findings.add("projection", "positions", None, str(place), expected, found)
    await read_model.compare(books.accounts, books.cases, histories, books.findings)


class _Books:
    """The journals as far as they are read, and what follows from them."""

    def __init__(
        self,
        log: Log,
        partitions: Mapping[str, int],
        cuts: Mapping[Place, int],
        ends: Mapping[Place, int],
        relied_on: Mapping[Place, int],
        effect_horizon_ms: int,
        memory_ms: int,
        keep: Keeper | None,
    ) -> None:
        self.findings = Findings()
        self.cases = Cases(self.findings, memory_ms)
        self.accounts = Accounts(self.cases, self.findings, effect_horizon_ms)
        self.claims = Claims(self.cases, self.findings)
        self.reversals = Reversals(self.cases, self.findings)
        self.progress: Callable[[int, int], None] = lambda done, of: None
        self._log = log
        self._relied_on = relied_on
        folds = {
            ACCOUNTS: self.accounts.fold,
            CLAIMS: self.claims.fold,
            SAGAS: self.reversals.fold,
        }
        self.journals = {
            place: Journal(
                place,
                cut=cuts[place],
                end=end,
                partitions=partitions,
                findings=self.findings,
                handle=folds[place.topic],
                keep=keep if place.topic == SAGAS else None,
            )
            for place, end in ends.items()
        }

    @classmethod
    async def open(
        cls, log: Log, effect_horizon_ms: int, memory_ms: int, keep: Keeper | None
    ) -> "_Books":
        partitions: dict[str, int] = {}
        for topic in (ACCOUNT_INPUT, SAGA_INPUT):
            partitions[topic] = await log.partitions(JOURNAL_OF[topic])
            if not partitions[topic]:
                raise CannotAudit(
                    f"there is no topic {JOURNAL_OF[topic]}: start the bank once (makegood up), "
                    "or check MAKEGOOD_KAFKA_BOOTSTRAP and MAKEGOOD_TOPIC_PREFIX"
                )
        claims = await log.partitions(CLAIMS)
        if claims:
            # A bank that never reversed anything may have none.
            partitions[CLAIM_INPUT] = claims

        async def asked() -> dict[Place, int]:
            found = await _ends(log, ACCOUNTS, partitions[ACCOUNT_INPUT])
            return {**found, **await _ends(log, CLAIMS, claims)}

        relied_on = await _ends(log, SAGAS, partitions[SAGA_INPUT])
        cuts = await asked()
        sagas = await _ends(log, SAGAS, partitions[SAGA_INPUT])
        ends = {**sagas, **await asked()}
        cuts |= relied_on
        return cls(log, partitions, cuts, ends, relied_on, effect_horizon_ms, memory_ms, keep)

    async def read(self, until: Mapping[Place, int]) -> None:
        """Read every journal on to `until`, at most to its end. Raises CannotAudit."""
        bounds = {
            place: min(until.get(place, 0), journal.end) for place, journal in self.journals.items()
        }
        left = {p: j.next_offset for p, j in self.journals.items() if j.next_offset < bounds[p]}
        if not left:
            return
        total = sum(journal.end for journal in self.journals.values())
        reader = self._log.reader(left)
        last_news = time.monotonic()
        try:
            while any(self.journals[place].next_offset < bounds[place] for place in left):
                found = await reader.read(_READ_RECORDS, 1_000)
                for place, records in found.items():
                    self.journals[place].read(records, bounds[place])
                if found:
                    last_news = time.monotonic()
                    self.progress(sum(j.records for j in self.journals.values()), total)
                elif time.monotonic() - last_news > _STALLED_S:
                    raise CannotAudit(
                        f"no record came for {_STALLED_S:.0f} s, with some left to read; "
                        "check that Kafka runs, then audit again"
                    )
        finally:
            await reader.close()

    def report(self, read_model: Rows | None, duration_s: float) -> Report:
        for journal in self.journals.values():
            journal.finish()
        self._judge()
        totals = self._totals()
        in_flight = [*self._in_flight()]
        journals = self.journals.values()
        return Report(
            pending_links=self._links(),
            ok=self.findings.count == 0,
            violation_count=self.findings.count,
            violations=self.findings.first(),
            counts=Counts(
                records=sum(journal.records for journal in journals),
                void=sum(journal.void for journal in journals),
                accounts=len(self.accounts.books),
                sagas=self._states(),
                postings=self.accounts.postings,
                in_flight=len(in_flight),
                rows=0 if read_model is None else read_model.compared,
            ),
            totals=totals,
            in_flight=listed(in_flight),
            positions={str(p): j.next_offset for p, j in sorted(self.journals.items())},
            database=read_model is not None,
            duration_s=duration_s,
        )

    def _judge(self) -> None:
        """What is wrong with the sagas that are not closed: now everything is read."""
        self.claims.judge(self._may_be_early)
        self.reversals.judge(lambda place, offset: offset >= self._relied_on[place])
        for case in self._open():
            for problem in problems(case):
                if not self._may_be_early(problem.place, problem.offset):
                    self._add(case.saga_id, problem)
        for child_id, problem in self.cases.children.problems():
            if problem.offset < self._relied_on[problem.place]:
                self._add(child_id, problem)
        for case in self.cases.later.values():
            for key, effect in case.effects.items():
                if effect.applied is None or effect.applied_in is None:
                    continue
                place = effect.applied_in
                if not self._may_be_early(place, effect.applied_at):
                    self._add(
                        case.saga_id,
                        Problem(
                            "saga_ended",
                            place,
                            effect.applied_at,
                            "no posting for a saga that has ended",
                            f"{key}: {effect.applied}",
                        ),
                    )

    def _may_be_early(self, place: Place, offset: int) -> bool:
        """Whether what stands there may only look wrong, for the sagas are not read that far."""
        return place.topic != SAGAS and offset >= self.journals[place].cut

    def _add(self, saga_id: str, problem: Problem) -> None:
        check, place, offset, expected, found = problem
        self.findings.add(check, place, offset, f"saga {saga_id}", expected, found)

    def _open(self) -> Iterator[Case]:
        for saga in (*self.cases.sagas.values(), *self.cases.former):
            if isinstance(saga, Case):
                yield saga

    def _with_money(self) -> Iterator[Case]:
        yield from self._open()
        yield from self.cases.later.values()

    def _totals(self) -> dict[str, Totals]:
        """Double entry over everything that was read, per currency."""
        balances: dict[str, int] = {}
        transit: dict[str, int] = {}
        world: dict[str, int] = {}
        for book in self.accounts.books.values():
            balances[book.currency] = balances.get(book.currency, 0) + book.balance
        for case in self._with_money():
            for currency, amount in case.transit.items():
                transit[currency] = transit.get(currency, 0) + amount
        for (currency, _), amount in self.accounts.world.items():
            world[currency] = world.get(currency, 0) + amount
        totals: dict[str, Totals] = {}
        for currency in sorted(balances.keys() | transit.keys() | world.keys()):
            parts = [found.get(currency, 0) for found in (balances, transit, world)]
            totals[currency] = Totals(
                balances=parts[0], transit=parts[1], world=parts[2], sum=sum(parts)
            )
            if sum(parts):
                self.findings.add(
                    "conservation",
                    ACCOUNTS,
                    None,
                    currency,
                    "balances + transit + world = 0",
                    f"{parts[0]} + {parts[1]} + {parts[2]} = {sum(parts)}",
                )
        return totals

    def _in_flight(self) -> Iterator[InFlight]:
        for case in self._with_money():
            transit = {currency: amount for currency, amount in case.transit.items() if amount}
            if transit or case.holds:
                yield InFlight(
                    saga_id=case.saga_id,
                    state=case.state or "unknown",
                    transit=transit,
                    holds=len(case.holds),
                )

    def _states(self) -> dict[str, int]:
        states: dict[str, int] = {}
        for saga in (*self.cases.sagas.values(), *self.cases.former):
            if isinstance(saga, Closed) or saga.started_at >= 0:
                state = saga.outcome.state
                states[state] = states.get(state, 0) + 1
        return dict(sorted(states.items()))

    def _links(self) -> list[PendingLink]:
        """Compare both ends of every link; gives those with messages on their way."""
        pending: list[PendingLink] = []
        for place, journal in sorted(self.journals.items()):
            for name in sorted(journal.sent):
                topic, _, partition = name.rpartition("/")
                if topic not in JOURNAL_OF:
                    continue
                receiver = self.journals.get(Place(JOURNAL_OF[topic], int(partition)))
                if receiver is None:
                    continue
                sent, source = journal.sent[name], str(place)
                if receiver.received_at_cut.get(source, 0) > sent:
                    self.findings.add(
                        "link_received",
                        receiver.place,
                        None,
                        source,
                        f"at most number {sent}, the last one sent",
                        f"{receiver.received_at_cut[source]}",
                    )
                received = receiver.received.get(source, 0)
                if received < sent:
                    link = PendingLink(
                        source=source, destination=name, sent=sent, received=received
                    )
                    pending.append(link)
        return pending[:MAX_LISTED]


async def _ends(log: Log, topic: str, partitions: int) -> dict[Place, int]:
    """The end of every partition. Raises CannotAudit when the beginning is gone."""
    ends: dict[Place, int] = {}
    for partition in range(partitions):
        place = Place(topic, partition)
        first, ends[place] = await log.bounds(place)
        if first > 0:
            raise CannotAudit(
                f"{place} begins at offset {first}: records were deleted, so nobody can prove what "
                "they said. Restore the topic from its backup; a journal is kept for ever "
                "(retention.ms=-1)"
            )
    return ends
