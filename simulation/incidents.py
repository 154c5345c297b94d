"""What goes wrong from time to time: processes die and freeze, owners change and overlap, clocks
jump, snapshots disappear, strangers write to our topics.
"""

import asyncio
from itertools import count
from typing import Final

from journal.log import Entry, Place
from journal.records import EPOCH, SEQUENCE, SOURCE, TYPE, header
from messages.account import Deposit
from messages.saga import StepApplied
from messages.wire import encode, type_name
from orchestrator.service import TOPICS as ORCHESTRATOR
from simulation.bank import Bank
from simulation.conditions import INCIDENTS, stream
from simulation.process import Process
from simulation.weather import simulated_ms

FOREIGN: Final = "foreign"
"""Begins the saga ids and effect ids of messages that no service of ours has sent."""

COPIED: Final = f"{FOREIGN}-copy"
"""The source of a message that a service of ours has sent and that comes once more."""

_JOURNAL: Final = b".journal"

_MAX_PAUSE_S: Final = 60.0

_GARBAGE: Final = (
    Entry(None, None),
    Entry(b"k", b""),
    Entry(b"k", b"\xff\xfe\x00"),
    Entry(b"k", b'{"type":"nobody.Knows.v1"}'),
    Entry(b"k", b"[" * 2000),
    Entry(b"k", b'{"type":"saga.StepApplied.v1","saga_id":1}'),
    Entry(b"k", b"{}", ((SEQUENCE, b"1"),)),
    Entry(b"k", b"{}", ((SOURCE, b"foreign/0"), (SEQUENCE, b"0"))),
    Entry(b"k", b"{}", ((SOURCE, b"foreign/0"), (SEQUENCE, b"one"))),
    Entry(b"k", b"{}", ((SOURCE, b"foreign/0"), (SEQUENCE, b"9" * 30))),
    Entry(b"k", b"{}", ((SOURCE, b"\xff"), (SEQUENCE, b"-1"))),
)


class Incidents:
    """`run` until cancelled."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._rng = stream(bank.seed, "incidents")
        self._aftermath: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        bank, conditions = self._bank, self._bank.conditions
        kinds = [kind for kind in INCIDENTS if kind in conditions.faults]
        pauses = stream(bank.seed, "pauses")
        for number in count() if kinds else ():
            await asyncio.sleep(pauses.expovariate(1 / conditions.incident_every_s))
            if conditions.incidents is not None and number not in conditions.incidents:
                continue
            # Its own stream: whatever else is left out, this incident stays what it was.
            self._rng = stream(bank.seed, f"incident {number}")
            kind = self._rng.choice(kinds)
            if self._happen(kind):
                bank.happened[kind] += 1
                bank.incidents.append(number)

    def end(self) -> None:
        for task in self._aftermath:
            task.cancel()

    def _happen(self, kind: str) -> bool:
        """Whether it could happen as things are."""
        match kind:
            case "crash":
                return self._crash()
            case "pause":
                return self._pause()
            case "reassign":
                self._reassign(None)
            case "overlap":
                return self._overlap()
            case "api_crash":
                api = self._rng.choice(self._bank.apis)
                self._bank.note(f"{api.name} crashes and starts again")
                api.crash()
                api.start()
            case "projector_crash":
                projector = self._rng.choice(self._bank.projectors)
                self._bank.note(f"{projector.name} crashes and starts again")
                projector.crash()
                projector.start()
            case "clock_jump":
                self._clock_jump()
            case "snapshot_lost" | "snapshot_torn" | "snapshot_compacted":
                return self._snapshots(kind)
            case "place_down":
                self._place_down()
            case "message_copied":
                return self._copy()
            case "garbage_input":
                self._write(self._input(), self._rng.choice(_GARBAGE))
            case "foreign_input":
                self._foreign_input()
            case "journal_noise":
                self._journal_noise()
            case _:
                raise AssertionError(kind)
        return True

    def _some(self) -> Process | None:
        able = [p for p in self._bank.all_processes if p.running and not p.frozen]
        return self._rng.choice(able) if able else None

    def _later(self, mean_s: float, process: Process, tell: bool) -> None:
        """After a while the process is back."""

        pause_s = min(_MAX_PAUSE_S, self._rng.expovariate(1 / mean_s))

        async def back() -> None:
            await asyncio.sleep(pause_s)
            if process.frozen:
                self._bank.note(f"{process.name} thaws")
                process.thaw(tell=tell)
            else:
                self._bank.note(f"{process.name} starts again")
                process.start()

        task = asyncio.create_task(back())
        self._aftermath.add(task)
        task.add_done_callback(self._aftermath.discard)

    def _crash(self) -> bool:
        process = self._some()
        if process is None:
            return False
        self._bank.note(f"{process.name} crashes")
        process.crash()
        if self._rng.random() < 0.6:
            self._reassign(process)
        self._later(3.0, process, tell=True)
        return True

    def _pause(self) -> bool:
        process = self._some()
        if process is None:
            return False
        self._bank.note(f"{process.name} freezes")
        process.freeze()
        if self._rng.random() < 0.8:
            self._reassign(process)
        self._later(self._rng.choice((0.5, 8.0, 30.0)), process, tell=self._rng.random() < 0.5)
        return True

    def _reassign(self, without: Process | None) -> None:
        bank = self._bank
        for name, processes in bank.processes.items():
            if without is None or without in processes:
                left = [p for p in processes if p is not without and p.running and not p.frozen]
                bank.reassign(name, left)
                dealt = ", ".join(f"{p.name}: {sorted(p.assigned)}" for p in processes)
                bank.note(f"partitions go to {dealt}")

    def _overlap(self) -> bool:
        process = self._some()
        if process is None:
            return False
        partition = self._rng.randrange(self._bank.partitions_of(process.service))
        if partition in process.assigned:
            return False
        self._bank.note(f"{process.name} tries to own partition {partition} too")
        process.assign(process.assigned | {partition})
        return True

    def _clock_jump(self) -> None:
        process = self._rng.choice(self._bank.all_processes)
        reach_ms = self._rng.choice((100, 5_000, 70_000, 500_000))
        by_ms = self._rng.randint(-reach_ms, reach_ms)
        self._bank.note(f"the clock of {process.name} jumps by {by_ms} ms")
        self._bank.happened["clock_back" if by_ms < 0 else "clock_forward"] += 1
        process.clock.wrong_ms += by_ms

    def _snapshots(self, kind: str) -> bool:
        rng, log = self._rng, self._bank.log
        service = rng.choice(self._bank.services)
        place = Place(service.topics.snapshots, rng.randrange(service.partitions))
        held = log.records[place]
        if not held:
            return False
        self._bank.note(f"{kind}: {place}")
        if kind == "snapshot_lost" and rng.random() < 0.3:
            log.truncate(place, held[-1].offset + 1)
            return True
        if kind == "snapshot_compacted":
            last = {record.key: record.offset for record in held}
            for i, record in enumerate(held):
                if last[record.key] != record.offset:
                    held[i] = record._replace(value=None)
            return True
        for i, record in enumerate(held):
            if record.value is not None and rng.random() < 0.5:
                torn = record.value[: rng.randrange(len(record.value))]
                held[i] = record._replace(value=None if kind == "snapshot_lost" else torn)
        return True

    def _input(self, services: int | None = None) -> Place:
        """A partition of an input; `services`: among the first so many."""
        service = self._rng.choice(self._bank.services[:services])
        return Place(service.topics.input, self._rng.randrange(service.partitions))

    def _write(self, place: Place, entry: Entry) -> None:
        self._bank.note(f"a stranger writes to {place}: {(entry.value or b'')[:60]!r}")
        self._bank.log.land(place, [entry])

    def _place_down(self) -> None:
        """A partition takes no writes: of several sends some fail, participants do not answer."""
        rng = self._rng
        places = [place for place in self._bank.log.records if not place.topic.endswith(".journal")]
        place = rng.choice(places)
        for_s = min(_MAX_PAUSE_S, rng.expovariate(1 / rng.choice((1.0, 5.0, 30.0))))
        self._bank.note(f"{place} takes no writes for {for_s:.1f} s")
        self._bank.weather.take_down(place, for_s)

    def _copy(self) -> bool:
        """A command, or a participant's answer, comes once more, however late, outside its link."""
        place = self._input()
        sent = [
            record
            for record in self._bank.log.records[place]
            if (header(record.headers, SOURCE) or b"").partition(b"/")[0].endswith(_JOURNAL)
        ]
        if not sent:
            return False
        # Mostly a fresh one: what it is about may still be open.
        record = sent[-1 - min(int(self._rng.expovariate(0.2)), len(sent) - 1)]
        headers = [(SOURCE, COPIED.encode()), *(h for h in record.headers if h[0] == TYPE)]
        self._write(place, Entry(record.key, record.value, headers))
        return True

    def _foreign_input(self) -> None:
        """Well-formed messages of strangers: about sagas we do not know, on links of their own."""
        rng = self._rng
        name = f"{FOREIGN}-{rng.randrange(1_000_000)}"
        place = self._input(services=2)
        message: StepApplied | Deposit
        if place.topic == ORCHESTRATOR.input:
            message = StepApplied(saga_id=name, step="debit", direction="do", attempt=1)
        else:
            message = Deposit(
                account_id="acc-foreign",
                effect_id=name,
                issued_at_ms=simulated_ms(),
                amount_minor=5,
                currency="EUR",
                saga_id=name,
                step="nonsense",
                reply_to="orchestrator.input",
            )
        headers = [(TYPE, type_name(message).encode())]
        if rng.random() < 0.5:
            # 1 is accepted once, 7 is a gap for ever.
            headers += [(SOURCE, b"foreign/0"), (SEQUENCE, rng.choice((b"1", b"7")))]
        self._write(place, Entry(name.encode(), encode(message), headers))

    def _journal_noise(self) -> None:
        """Records that no owner wrote. Void for everybody, and in the way of whoever appends."""
        rng = self._rng
        service = rng.choice(self._bank.services)
        place = service.topics.journal_at(rng.randrange(service.partitions))
        headers = rng.choice(
            ((), ((EPOCH, b"999999"),), ((EPOCH, b"x"), (TYPE, b"journal.Opened.v1")))
        )
        self._write(place, Entry(b"k", b'{"type":"account.Deposited.v1"}', headers))
