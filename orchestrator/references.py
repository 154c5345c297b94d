"""What a plan's references stand for in one saga, and whether a step's conditions are met. Pure.

A saga's parameters and its steps' results never change once they are there, so neither does what is
found here.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any, Final, cast

import msgspec

from messages.identity import effect_id
from messages.instant import instant_ms
from messages.plan import Condition, Test, leg_name

Path = tuple[str, ...]

_ORDER: Final[Mapping[Test, Callable[[int, int], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


class Unresolved(Exception):
    """A reference of a template has no value in this saga: `path` says which."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} has no value")
        self.path = path


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As in `messages.plan`: what is found at `ref` is looked up in `among`, if there is one."""

    ref: str
    among: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        return tuple(self.ref.split("."))


def reference_of(value: object) -> Reference | None:
    """`value` when it is a reference, None when it is a literal."""
    return msgspec.convert(value, Reference) if isinstance(value, dict) else None


def path_of(value: object) -> Path | None:
    """The path when `value` is a reference, None when it is a literal."""
    reference = reference_of(value)
    return None if reference is None else reference.path


class Facts(msgspec.Struct, frozen=True):
    """What references are resolved against: the saga's id, its parameters, results by step, and
    the ids of the sagas that steps are; for a leg its number and its element of the list."""

    saga: str
    params: dict[str, Any]
    results: Sequence[tuple[str, dict[str, Any]]]
    children: Mapping[str, str] = {}
    leg: int | None = None
    element: object = None

    def at(self, path: Path) -> Any:
        """Raises `Unresolved`."""
        root, *rest = path
        if root == "effect":
            step, *each = rest
            return effect_id(self.saga, leg_name(step, self.leg or 0) if each else step, "do")
        if root == "each":
            found = within(self.element, rest)
        elif root == "params":
            found = within(self.params, rest)
        elif root == "child":
            found = self.children[rest[0]]
        elif root == "steps" and len(rest) == 3 and rest[1] == "result":
            found = within(dict(self.results).get(rest[0]), rest[2:])
        else:
            found = MISSING
        if found is MISSING:
            raise Unresolved(".".join(path))
        return found

    def instant_ms(self, path: Path) -> int:
        """Raises `Unresolved` also for what is no instant."""
        at_ms = instant_ms(self.at(path))
        if at_ms is None:
            raise Unresolved(".".join(path))
        return at_ms

    def meet(self, condition: Condition) -> bool:
        """Whether it holds. Raises `Unresolved` when that can't be told."""
        left, right = self._side(condition.left), self._side(condition.right)
        compare = _ORDER.get(condition.test)
        if compare is None:
            # True is no 1, and "1" neither.
            same = type(left) is type(right) and left == right
            return same == (condition.test == "==")
        if type(left) is not int or type(right) is not int:
            raise Unresolved(f"an order of {_written(condition.left)}, {_written(condition.right)}")
        return compare(left, right)

    def _side(self, value: object) -> Any:
        path = path_of(value)
        if path is None:
            return value
        if path[0] == "params":
            found = within(self.params, path[1:])
            return None if found is MISSING else found
        return self.at(path)


MISSING: Final = object()


def within(value: object, path: Sequence[str]) -> Any:
    """What is found at `path` in lists and objects, `MISSING` if nothing is."""
    for part in path:
        if isinstance(value, dict):
            value = cast("dict[str, object]", value).get(part, MISSING)
        elif isinstance(value, list) and part.isdecimal():
            elements, index = cast("list[object]", value), int(part)
            value = elements[index] if index < len(elements) else MISSING
        else:
            return MISSING
    return value


def _written(value: object) -> str:
    path = path_of(value)
    return "a literal" if path is None else ".".join(path)
