"""Messages of every type, and ways to spoil them: for tests that feed decoders and machines poison.

A message is taken apart into a tree in which a member may stand twice and a leaf may be any bytes,
so that what no encoder writes (NaN, half a surrogate pair, a number of 5,000 digits) stands there.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from journal.progress import ProgressState
from journal.records import KernelRecord
from journal.snapshots import Manifest
from messages.account import AccountCommand, AccountEvent
from messages.child import ParentStep
from messages.claims import ClaimCommand
from messages.saga import SagaEvent, SagaInput
from messages.wire import encode, type_name
from participant.effects import EffectEvent
from saga_definitions.registry import shipped

NOW_MS = 1_700_000_000_000

_transfer = shipped().latest("transfer")
assert _transfer is not None

PARAMS = {"source": "alice", "target": "bob", "amount_minor": 5, "currency": "EUR"}

FIELDS: dict[str, Any] = {
    "account_id": "alice",
    "action": "retry",
    "allowance_day": 19_675,
    "amount_minor": 5,
    "answer": "applied",
    "at_ms": NOW_MS,
    "attempt": 1,
    "balance_minor": 995,
    "bytes": 65_536,
    "child_id": "c1" * 16,
    "checksum": 2**32 - 1,
    "chunks": 2,
    "command": "account.Debit.v1",
    "command_type": "account.Debit.v1",
    "confirmed": {"account.input/0": 3},
    "credits": "refuse",
    "currency": "EUR",
    "daily_limit_minor": 10_000,
    "definition": "transfer",
    "detail": "for a person",
    "digest": "d1",
    "direction": "do",
    "effect_id": "s1/debit/do",
    "enquire": False,
    "epoch": 0,
    "fingerprint": "f",
    "headers": [("ce_type", b"t"), ("odd", b"\xff")],
    "held_minor": 5,
    "hold_id": "h1",
    "idempotency_key": "k",
    "input_next": 7,
    "issued_at_ms": NOW_MS,
    "journal_next": 12,
    "key": "alice",
    "limit_minor": 100,
    "lock_id": "s1/lock/do",
    "mark": 1,
    "max_waiting": 5,
    "number": 1,
    "offset": 3,
    "outcome": "applied",
    "overdraft_limit_minor": 100,
    "owner": "first",
    "params": PARAMS,
    "parent": ParentStep("s1", "debit", "do", 1),
    "partition": 0,
    "partitions": 1,
    "payload": {"ticket": "t1", "n": 1},
    "plan": _transfer.plan,
    "progress_chunks": 1,
    "purpose": "reversal",
    "reason": "insufficient_funds",
    "received": {"account.journal/0": 4},
    "refused": "insufficient_funds",
    "released": {"account.input/0": 3},
    "reply_to": "orchestrator.input",
    "request_id": "r1",
    "resource": "s1",
    "result": {"hold_id": "h1", "n": 1, "yes": True, "none": None},
    "retry_at_ms": NOW_MS + 200,
    "saga_id": "s1",
    "sent": {"account.input/0": 5},
    "signal": "approval",
    "state": "running",
    "still_waiting": "",
    "step": "debit",
    "tenant": "bank",
    "timeout_at_ms": NOW_MS + 10_000,
    "timeout_ms": 10_000,
    "timestamp": NOW_MS,
    "topic": "account.input",
    "transfer_limit_minor": 1_000,
    "undoes": "s1/debit/do",
    "until_ms": NOW_MS + 60_000,
    "value": b"\x00\xff",
    "verdict": "approve",
    "version": 2,
    "voided": "s1/debit/do",
    "voids": "s1/debit/do",
    "waiting": [("account.input/0", 4, "k", b"v", [("h", b"x")])],
    "who": "eve",
    "why": "repeated",
}
OTHERS: dict[tuple[str, str], Any] = {
    ("AccountEvent", "fingerprint"): 17,
    ("EffectEvent", "fingerprint"): 17,
    ("EffectEvent", "command"): msgspec.Raw(b'{"type":"claims.Claim.v1"}'),
    ("SagaEvent", "command"): msgspec.Raw(b'{"type":"account.Debit.v1"}'),
    ("KernelRecord", "key"): b"\xff",
}


def _whole(kind: Any, family: str) -> Any:
    return kind(
        **{
            field.name: OTHERS.get((family, field.name), FIELDS[field.name])
            for field in msgspec.structs.fields(kind)
        }
    )


def _every(family: Any, name: str) -> list[bytes]:
    return [encode(_whole(kind, name)) for kind in get_args(family)]


COMMANDS = _every(AccountCommand, "AccountCommand")
INPUTS = _every(SagaInput, "SagaInput")
ACCOUNT_EVENTS = _every(AccountEvent, "AccountEvent")
SAGA_EVENTS = _every(SagaEvent, "SagaEvent")
CLAIM_COMMANDS = _every(ClaimCommand, "ClaimCommand")
EFFECT_EVENTS = _every(EffectEvent, "EffectEvent")
KERNEL = _every(KernelRecord, "KernelRecord")
SNAPSHOTS = [encode(_whole(Manifest, "")), encode(_whole(ProgressState, ""))]
EVERYTHING = [
    *COMMANDS,
    *INPUTS,
    *CLAIM_COMMANDS,
    *ACCOUNT_EVENTS,
    *SAGA_EVENTS,
    *EFFECT_EVENTS,
    *KERNEL,
    *SNAPSHOTS,
]
TYPES = [
    type_name(kind)
    for family in (
        AccountCommand,
        SagaInput,
        ClaimCommand,
        AccountEvent,
        SagaEvent,
        EffectEvent,
        KernelRecord,
    )
    for kind in get_args(family)
]

# Trees: [(name, value), ...] in an `Obj`, values in a list, and bytes, which are written as is.


class Obj(list[tuple[bytes, Any]]):
    pass


def _tree(value: Any) -> Any:
    if isinstance(value, dict):
        return Obj((encode(name), _tree(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return [_tree(inner) for inner in value]
    return encode(value)


def _written(tree: Any) -> bytes:
    if isinstance(tree, Obj):
        return b"{%b}" % b",".join(b"%b:%b" % (name, _written(inner)) for name, inner in tree)
    if isinstance(tree, list):
        return b"[%b]" % b",".join(_written(inner) for inner in tree)
    return tree


NUMBERS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"1e5",
    b"1.0",
    b"-0",
    b"00",
    b"-1",
    b"2",
    *(b"%d" % number for power in (31, 53, 63, 64) for number in (2**power - 1, 2**power)),
    *(b"-%d" % 2**power for power in (63, 64)),
    *(b"9" * digits for digits in (25, 400, 4_299, 4_300, 4_301, 5_000)),
    b"-" + b"9" * 4_300,
]
TEXTS = [
    b'""',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\\u0000"',
    b'"\\u202e"',
    b'"a\\n"',
    b'"%b"' % (b"x" * 3_000),
    b'"%b"' % ("é" * 3_000).encode(),
    *(encode(text) for text in ("alice", "bob", "s1", "s2", "h1", "credit", "undo", "USD")),
    *(encode(text) for text in ("s1/debit/do", "s1/debit/undo", "orchestrator.input")),
]
OTHER = [b"true", b"false", b"null", b"[]", b"{}", b"[null]", b'{"type":"account.Debit.v1"}']

_types = st.sampled_from(TYPES).map(encode)
_leaves = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(OTHER), _types
)


@st.composite
def _deep(draw: st.DrawFn) -> bytes:
    """Arrays or objects in each other, about as deep as Python's recursion goes, or far deeper."""
    depth = draw(st.integers(1, 70) | st.integers(880, 1_000) | st.just(20_000))
    opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
    inner = draw(st.sampled_from([b"1", b"null", b"[]"]))
    return opening * depth + inner + (closing * depth if draw(st.integers(0, 9)) else b"")


hostile = _leaves | _deep()

_DEEP = [opening * 20_000 for opening in (b"[", b'{"a":')]


def each_member_spoilt(value: bytes) -> Iterator[bytes]:
    """The message with each of its members in turn as everything that is not drawn at random."""
    tree = _tree(msgspec.json.decode(value))
    for at, (name, good) in enumerate(tree):
        for bad in (*NUMBERS, *TEXTS, *OTHER, *_DEEP):
            tree[at] = (name, bad)
            yield _written(tree)
        tree[at] = (name, good)


def nested(value: bytes, member: str, depth: int) -> bytes:
    """The message with arrays in arrays in a new member of its member `member`, an object."""
    tree = _tree(msgspec.json.decode(value))
    (inside,) = (inner for name, inner in tree if name == encode(member))
    inside.append((b'"deep"', b"[" * depth + b"]" * depth))
    return _written(tree)


@st.composite
def spoilt(draw: st.DrawFn, of: Iterable[bytes]) -> bytes:
    """A message of which one to three members are others, twice there, gone or renamed."""
    tree = _tree(msgspec.json.decode(draw(st.sampled_from(list(of)))))
    for _ in range(draw(st.integers(1, 3))):
        inside = tree
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 4]))):
            deeper = [v for _, v in inside if isinstance(v, Obj)]
            if not deeper:
                break
            inside = draw(st.sampled_from(deeper))
        if inside:
            _SPOILS[draw(st.sampled_from(list(_SPOILS)))](draw, inside)
    return _written(tree)


def _change(draw: st.DrawFn, inside: Obj) -> None:
    at = draw(st.integers(0, len(inside) - 1))
    inside[at] = (inside[at][0], draw(hostile))


def _add(draw: st.DrawFn, inside: Obj) -> None:
    name, value = draw(st.sampled_from(inside))
    twin = draw(st.sampled_from([name, encode("unheard of"), b'"\\ud800"', b'"type"']))
    at = draw(st.integers(0, len(inside)))
    inside.insert(at, (twin, draw(st.just(value) | hostile)))


def _drop(draw: st.DrawFn, inside: Obj) -> None:
    del inside[draw(st.integers(0, len(inside) - 1))]


def _rename(draw: st.DrawFn, inside: Obj) -> None:
    at = draw(st.integers(0, len(inside) - 1))
    inside[at] = (draw(st.sampled_from([encode(name) for name in FIELDS])), inside[at][1])


_SPOILS: dict[str, Callable[[st.DrawFn, Obj], None]] = {
    "change": _change,
    "change too": _change,
    "change as well": _change,
    "add": _add,
    "drop": _drop,
    "rename": _rename,
}


@st.composite
def torn(draw: st.DrawFn, of: Iterable[bytes]) -> bytes:
    """A message in which stretches of bytes are other bytes, gone, or there twice."""
    value = draw(st.sampled_from(list(of)))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(value)))
        end = min(len(value), begin + draw(st.integers(0, 12)))
        inner = draw(
            st.sampled_from([b"", value[begin:end] * 2, b'"', b"\\", b"}", b"\x00", b"\xf4\x90"])
            | st.binary(max_size=6)
        )
        value = value[:begin] + inner + value[end:]
    return value


def poison(of: Iterable[bytes]) -> st.SearchStrategy[bytes]:
    """Anything that might stand in a record's value, most of it nearly one of the messages `of`."""
    messages = list(of)
    return st.one_of(
        spoilt(messages),
        spoilt(messages),
        torn(messages),
        st.sampled_from(EVERYTHING),
        st.binary(max_size=40),
    )
