"""A run told in order of simulated time: what went wrong, and what was written because of it."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from journal.log import Place
from journal.memory_log import MemoryRecord
from journal.records import Opened
from messages.wire import type_name
from simulation import history
from simulation.bank import Bank
from simulation.history import text_header
from simulation.weather import START_MS

_TOLD: Final = (
    "owner",
    "saga_id",
    "account_id",
    "step",
    "direction",
    "attempt",
    "effect_id",
    "undoes",
    "amount_minor",
    "reason",
    "input_next",
    "received",
    "sent",
    "why",
    "journal_next",
)


_OPENED: Final = type_name(Opened)
_POINTED: Final = re.compile(r"(\S+/\d+) offset (\d+)")
_WORD: Final = re.compile(r"[\w-]+")


def timeline(bank: Bank, violations: Sequence[str] = ()) -> list[str]:
    """One line per note and per record, e.g. `12.345 account.journal/0@17 Debited saga_id=...`.

    With `violations` only what concerns the sagas and accounts that they are about; all, when
    they name none.
    """
    told = [(START_MS + at_s * 1000, "!! " + note) for at_s, note in bank.notes]
    about = _about(bank, violations)
    for place, records in bank.log.records.items():
        void = _void(place, records)
        told += [
            (r.timestamp, _line(place, r, r.offset in void))
            for r in records
            if not about or _concerns(r, about)
        ]
    told.sort(key=lambda line: line[0])
    return [f"{(at_ms - START_MS) / 1000:9.3f} {text}" for at_ms, text in told]


def _about(bank: Bank, violations: Sequence[str]) -> set[str]:
    """The sagas that `violations` name or whose records they point at; the accounts, if there
    is no saga in it."""
    sagas: set[str] = set()
    accounts: set[str] = set()
    text = "\n".join(violations)
    words = set(_WORD.findall(text))
    pointed = {(topic, int(offset)) for topic, offset in _POINTED.findall(text)}
    for place, records in bank.log.records.items():
        for record in records:
            fields = _fields(record)
            saga, account = fields.get("saga_id"), fields.get("account_id")
            here = (str(place), record.offset) in pointed
            if type(saga) is str and saga and (here or saga in words):
                sagas.add(saga)
            elif type(account) is str and (here or account in words):
                accounts.add(account)
    return sagas or accounts


def _concerns(record: MemoryRecord, about: set[str]) -> bool:
    fields = _fields(record)
    return (
        fields.get("type") == _OPENED
        or fields.get("saga_id") in about
        or fields.get("account_id") in about
    )


def _fields(record: MemoryRecord) -> dict[str, object]:
    try:
        return msgspec.json.decode(record.value or b"{}", type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"type": f"not JSON: {(record.value or b'')[:30]!r}"}


def _void(place: Place, records: list[MemoryRecord]) -> set[int]:
    if not place.topic.endswith(".journal"):
        return set()
    counting = {fact.offset for fact in history.read_journal(place, records).facts}
    return {record.offset for record in records if record.offset not in counting}


def _line(place: Place, record: MemoryRecord, void: bool) -> str:
    fields = _fields(record)
    kind = str(fields.get("type", "?")).partition(".")[2] or str(fields.get("type", "?"))
    facts = " ".join(f"{name}={fields[name]}" for name in _TOLD if fields.get(name))
    source, sequence = text_header(record, "ce_source"), text_header(record, "ce_sequence")
    link = f" #{sequence} from {source}" if sequence else ""
    epoch = text_header(record, "ce_epoch")
    written_by = f" epoch={epoch}" if epoch else ""
    return f"{place}@{record.offset}{' VOID' if void else ''} {kind}{written_by}{link} {facts}"
