"""What a caller may put into a saga: typed parameters, references to them, and rules between them.

A parameter is declared once, in a `Params` class. It checks values from outside, and it stands
for its value in the commands of the steps. No reason given here repeats the caller's value: it
ends in logs and answers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar, cast, get_args

import msgspec

import messages.money as money
from messages.account import AccountId

T = TypeVar("T", covariant=True)

Problem = tuple[str, str]
"""(place, reason): the parameter's name, and what is wrong with its value."""

MAX_TEXT: Final = 1_000
MAX_PROBLEMS: Final = 20

_account_id_meta: msgspec.Meta = get_args(AccountId)[1]
_account_id = re.compile((_account_id_meta.pattern or "").removeprefix("^").removesuffix("$"))


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


class Params:
    """The parameters of one definition, declared as class attributes."""

    @classmethod
    def declared(cls) -> tuple[Param[object], ...]:
        """The parameters in the order of their declaration."""
        return tuple(
            cast("Param[object]", value) for value in vars(cls).values() if isinstance(value, Param)
        )


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
    declared: Sequence[Param[object]], rules: Sequence[Differ], params: Mapping[str, object]
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
