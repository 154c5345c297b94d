"""What a caller may put into a saga: typed parameters, references to them, and rules between them.

A parameter is declared once, in a `Params` class. It checks values from outside, and it stands
for its value in the commands of the steps. No reason given here repeats the caller's value: it
ends in logs and answers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, cast, get_args

import msgspec

import messages.money as money
from messages.account import AccountId
from messages.instant import instant_ms
from messages.saga import Person as PersonId

T = TypeVar("T", covariant=True)

Problem = tuple[str, str]
"""(place, reason): the parameter's name, and what is wrong with its value."""

MAX_TEXT: Final = 1_000
MAX_PROBLEMS: Final = 20


def _pattern(wire: Any) -> re.Pattern[str]:
    meta: msgspec.Meta = get_args(wire)[1]
    return re.compile((meta.pattern or "").removeprefix("^").removesuffix("$"))


_account_id = _pattern(AccountId)
_person_id = _pattern(PersonId)


@dataclass(frozen=True)
class Ref(Generic[T]):
    """A value that is known when the step is sent: `path` as in `messages.plan`.

    `wire` is the type of the command field that it fits, None when only the run can tell.
    """

    path: str
    wire: Any = None


class Param(Ref[T]):
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

    def problem(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        raise NotImplementedError

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
    """An active ISO 4217 code."""

    def __init__(self) -> None:
        super().__init__(money.Currency)

    def problem(self, value: object) -> str | None:
        if type(value) is str and money.is_currency(value):
            return None
        return "must be an active ISO 4217 currency code"


class Text(Param[str]):
    """Free text of at most `max_length` characters."""

    max_length: int

    def __init__(self, *, max_length: int = 140, optional: bool = False) -> None:
        super().__init__(str, optional=optional)
        object.__setattr__(self, "max_length", min(max_length, MAX_TEXT))

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


class Instant(Param[str]):
    """A moment as RFC 3339 text with its offset; no command takes one."""

    def __init__(self) -> None:
        super().__init__(Instant)

    def problem(self, value: object) -> str | None:
        if instant_ms(value) is not None:
            return None
        return "must be an instant with its offset, such as 2026-12-01T09:00:00+01:00"


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


class Rule(Protocol):
    """What must hold between parameters that are good each for itself. `names`: of those."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        """What is wrong, or None."""
        ...


@dataclass(frozen=True)
class Differ:
    """A rule: the two parameters must not have the same value."""

    one: Param[object]
    other: Param[object]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.one.name, self.other.name)

    def problem(self, params: Mapping[str, object]) -> Problem | None:
        if params.get(self.one.name) != params.get(self.other.name):
            return None
        return (self.other.name, f"must differ from {self.one.name}")


def check(
    declared: Sequence[Param[object]], rules: Sequence[Rule], params: Mapping[str, object]
) -> list[Problem]:
    """Everything that is wrong with `params`, at most `MAX_PROBLEMS`; empty when they are good.

    Rules are looked at only when every single value is good.
    """
    problems: list[Problem] = []
    known = 0
    for param in declared:
        if param.name in params:
            known += 1
            reason = param.problem(params[param.name])
            if reason is not None:
                problems.append((param.name, reason))
        elif not param.optional:
            problems.append((param.name, "is required"))
    if known != len(params):
        names = {param.name for param in declared}
        unknown = (name for name in params if name not in names)
        for _, name in zip(range(MAX_PROBLEMS), unknown, strict=False):
            problems.append((name[:64], "is not a parameter of this definition"))
    if not problems:
        found = (rule.problem(params) for rule in rules)
        problems.extend(problem for problem in found if problem is not None)
    return problems[:MAX_PROBLEMS]
