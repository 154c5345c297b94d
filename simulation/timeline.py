"""A run told in order of simulated time: what went wrong, and what was written because of it."""

from typing import Final

import msgspec

from journal.log import Place
from journal.memory_log import MemoryRecord
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


def timeline(bank: Bank) -> list[str]:
    """One line per note and per record, e.g. `12.345 account.journal/0@17 Debited saga_id=...`."""
    told = [(START_MS + at_s * 1000, "!! " + note) for at_s, note in bank.notes]
    for place, records in bank.log.records.items():
        void = _void(place, records)
        told += [(r.timestamp, _line(place, r, r.offset in void)) for r in records]
    told.sort(key=lambda line: line[0])
    return [f"{(at_ms - START_MS) / 1000:9.3f} {text}" for at_ms, text in told]


def _void(place: Place, records: list[MemoryRecord]) -> set[int]:
    if not place.topic.endswith(".journal"):
        return set()
    counting = {fact.offset for fact in history.read_journal(place, records).facts}
    return {record.offset for record in records if record.offset not in counting}


def _line(place: Place, record: MemoryRecord, void: bool) -> str:
    try:
        fields = msgspec.json.decode(record.value or b"{}", type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fields = {"type": f"not JSON: {(record.value or b'')[:30]!r}"}
    kind = str(fields.get("type", "?")).partition(".")[2] or str(fields.get("type", "?"))
    facts = " ".join(f"{name}={fields[name]}" for name in _TOLD if fields.get(name))
    source, sequence = text_header(record, "ce_source"), text_header(record, "ce_sequence")
    link = f" #{sequence} from {source}" if sequence else ""
    epoch = text_header(record, "ce_epoch")
    written_by = f" epoch={epoch}" if epoch else ""
    return f"{place}@{record.offset}{' VOID' if void else ''} {kind}{written_by}{link} {facts}"
