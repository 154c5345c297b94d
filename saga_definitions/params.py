"""What a caller may put into a saga: typed parameters, and references to them.

A parameter is declared once, in a `Params` class. It checks values from outside, and it stands
for its value in the commands of the steps. No reason given here repeats the caller's value: it
ends in logs and answers.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Final, Generic, TypeVar, cast, get_args

import msgspec

import messages.money as money
from messages.account import AccountId
from messages.claims import Resource
from messages.instant import instant_ms
from messages.saga import Person as PersonId

T = TypeVar("T", covariant=True)

Problem = tuple[str, str]
"""(place, reason): the parameter's name, and what is wrong with its value."""

MAX_TEXT: Final = 1_000


def _pattern(wire: Any) -> re.Pattern[str]:
    meta: msgspec.Meta = get_args(wire)[1]
    return re.compile((meta.pattern or "").removeprefix("^").removesuffix("$"))


_account_id = _pattern(AccountId)
_person_id = _pattern(PersonId)
_saga_id = re.compile(r"[0-9a-f]{32}")
_leg_number = re.compile(r"\$\[(\d+)\]")
_rate = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?")


@dataclass(frozen=True)
class Ref(Generic[T]):
    """A value that is known when the step is sent: `path` as in `messages.plan`.

    `wire` is the type of the command field that it fits, None when only the run can tell.
    """

    path: str
    wire: Any = None


def written(value: object) -> object:
    """What a command's field says, to be compared with another's: equal when it stands for the
    same."""
    if isinstance(value, Lookup):
        return (value.path, value.table)
    return value.path if isinstance(value, Ref) else value


class Param(Ref[T], ABC):
    """A parameter of a saga; as an attribute of `Params` it takes its name from there."""

    name: str
    optional: bool

    def __init__(self, wire: Any, *, optional: bool = False) -> None:
        super().__init__("", wire)
        object.__setattr__(self, "name", "")
        object.__setattr__(self, "optional", optional)

    def __set_name__(self, owner: type, name: str) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "path", f"params.{name}")

    @abstractmethod
    def problem(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""

    def has(self, ref: Ref[object]) -> bool:
        """Whether `ref` is this parameter or a part of it."""
        return ref is self

    def may_lack(self, ref: Ref[object]) -> bool:
        """Whether good params may lack what `ref`, a part of this parameter, refers to."""
        return self.optional


class Account(Param[str]):
    """The id of an account."""

    def __init__(self) -> None:
        super().__init__(AccountId)

    def problem(self, value: object) -> str | None:
        if type(value) is str and _account_id.fullmatch(value):
            return None
        return "must be an account id: 1 to 64 letters, digits or _ . : -"


class Amount(Param[int]):
    """An amount in minor units, 1 .. 2**63 - 1."""

    def __init__(self) -> None:
        super().__init__(money.Amount)

    def problem(self, value: object) -> str | None:
        if money.is_amount(value):
            return None
        return "must be an integer of minor units, 1 to 9223372036854775807"


class Currency(Param[str]):
    """An active ISO 4217 code; `among`: one of these only."""

    choices: tuple[str, ...]

    def __init__(self, *, among: Sequence[str] = ()) -> None:
        super().__init__(money.Currency)
        object.__setattr__(self, "choices", tuple(sorted(among)))

    def problem(self, value: object) -> str | None:
        if type(value) is str and money.is_currency(value):
            if not self.choices or value in self.choices:
                return None
            return f"must be one of {', '.join(self.choices)}"
        return "must be an active ISO 4217 currency code"

    def select(self, table: Mapping[str, str]) -> "Lookup":
        """What `table` holds for the currency: every one that may come must be there."""
        return Lookup(self, table)


class Lookup(Ref[str]):
    """A value that depends on a parameter: found in `table` when the step is sent."""

    param: Currency
    table: Mapping[str, str]

    def __init__(self, param: Currency, table: Mapping[str, str]) -> None:
        super().__init__(param.path)
        object.__setattr__(self, "param", param)
        object.__setattr__(self, "table", dict(table))


class Text(Param[str]):
    """Free text of at most `max_length` characters."""

    max_length: int

    def __init__(self, *, max_length: int = 140, optional: bool = False) -> None:
        most = min(max_length, MAX_TEXT)
        super().__init__(Annotated[str, msgspec.Meta(max_length=most)], optional=optional)
        object.__setattr__(self, "max_length", most)

    def problem(self, value: object) -> str | None:
        if type(value) is str and len(value) <= self.max_length and value.isprintable():
            return None
        return f"must be printable text of at most {self.max_length} characters"


class Person(Param[str]):
    """Who does something: an id as the bank's own systems know it."""

    def __init__(self) -> None:
        super().__init__(PersonId)

    def problem(self, value: object) -> str | None:
        if type(value) is str and _person_id.fullmatch(value):
            return None
        return "must be a person's id: 1 to 100 letters, digits or _ . @ : -"


class Transfer(Param[str]):
    """The id of another transfer, as the API gave it: what a claim can be made of."""

    def __init__(self) -> None:
        super().__init__(Resource)

    def problem(self, value: object) -> str | None:
        if type(value) is str and _saga_id.fullmatch(value):
            return None
        return "must be a transfer's id: 32 hex digits"


class Instant(Param[str]):
    """A moment as RFC 3339 text with its offset; no command takes one."""

    def __init__(self) -> None:
        super().__init__(Instant)

    def problem(self, value: object) -> str | None:
        if instant_ms(value) is not None:
            return None
        return "must be an instant with its offset, such as 2026-12-01T09:00:00+01:00"


class Rate(Param[str]):
    """How many units of one currency there are for one unit of another: a decimal number, > 0, as
    text, of at most 9 digits before and 12 after the point. Major units, as rates are quoted."""

    def __init__(self) -> None:
        super().__init__(Rate)

    def problem(self, value: object) -> str | None:
        if type(value) is str and _rate.fullmatch(value) and Fraction(value) > 0:
            return None
        return 'must be a decimal number as text, such as "162.35"'


class Leg(Ref[object]):
    """One part of `Legs`."""

    @property
    def target(self) -> Ref[str]:
        return Ref(f"{self.path}.target", AccountId)

    @property
    def amount_minor(self) -> Ref[int]:
        return Ref(f"{self.path}.amount_minor", money.Amount)


class _Leg(msgspec.Struct, forbid_unknown_fields=True):
    target: AccountId
    amount_minor: money.Amount


class Legs(Param[object]):
    """Who gets how much: a list of 1 to `most` objects of `target` and `amount_minor`.

    `legs[0]` is always there; a step of another leg needs `when=condition(legs[n], "!=", None)`. A
    step with `each=legs` is done for every one of them, and `legs.leg` is there the one at hand.
    """

    most: int

    def __init__(self, *, most: int) -> None:
        super().__init__(Legs)
        object.__setattr__(self, "most", most)

    def __getitem__(self, leg: int) -> Leg:
        return Leg(f"{self.path}.{leg}")

    @property
    def leg(self) -> Leg:
        return Leg("each")

    def has(self, ref: Ref[object]) -> bool:
        number, _, _ = ref.path.removeprefix(f"{self.path}.").partition(".")
        if ref is self:
            return True
        if not (number.isascii() and number.isdecimal() and int(number) < self.most):
            return False
        leg = self[int(number)]
        return ref in (leg, leg.target, leg.amount_minor)

    def may_lack(self, ref: Ref[object]) -> bool:
        first = self[0]
        return ref not in (self, first, first.target, first.amount_minor)

    def problem(self, value: object) -> str | None:
        if type(value) is not list or not 1 <= len(value) <= self.most:  # pyright: ignore[reportUnknownArgumentType]
            return f"must be a list of 1 to {self.most} legs"
        try:
            # 10,000 legs in about 2 ms; in Python it would hold the engine for ten times that.
            msgspec.convert(value, list[_Leg])
        except msgspec.ValidationError as error:
            found = _leg_number.search(str(error))
            number = int(found[1]) if found else 0
            return self._wrong(number, cast("list[object]", value)[number])
        return None

    def _wrong(self, number: int, leg: object) -> str:
        if type(leg) is not dict or leg.keys() != {"target", "amount_minor"}:
            return f"leg {number} must have target and amount_minor and no more"
        parts = cast("dict[str, object]", leg)
        wrong = Account().problem(parts["target"])
        return f"leg {number}: {wrong or f'amount_minor {Amount().problem(None)}'}"


class Params:
    """The parameters of one definition, declared as class attributes."""

    @classmethod
    def declared(cls) -> tuple[Param[object], ...]:
        """The parameters in the order of their declaration, inherited ones first."""
        declared = {
            name: cast("Param[object]", value)
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Param)
        }
        return tuple(declared.values())
