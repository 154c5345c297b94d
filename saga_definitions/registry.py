"""Which definitions there are, and which version of a name is the latest.

New sagas start on the latest version; running ones carry their plan with them and ask nobody.
"""

from collections.abc import Iterable, Mapping
from functools import cache

from saga_definitions.approved_transfer import APPROVED_TRANSFER
from saga_definitions.dsl import Definition, DefinitionError
from saga_definitions.external_payout import external_payout
from saga_definitions.fee import FEE
from saga_definitions.fx_transfer import FX_TRANSFER
from saga_definitions.payroll import PAYROLL
from saga_definitions.payroll_all_or_none import PAYROLL_ALL_OR_NONE
from saga_definitions.reserved_transfer import RESERVED_TRANSFER
from saga_definitions.reversal import REVERSAL
from saga_definitions.scheduled_transfer import SCHEDULED_TRANSFER
from saga_definitions.split_transfer import SPLIT_TRANSFER
from saga_definitions.standing_order import STANDING_ORDER
from saga_definitions.transfer import TRANSFER
from saga_definitions.transfer_with_fee import TRANSFER_WITH_FEE


class UnknownDefinition(Exception):
    """There is no definition, or no such version of it, that `asked` stands for."""

    def __init__(self, asked: str, known: Iterable[str]) -> None:
        super().__init__(
            f"there is no definition {asked[:80]!r}; there are {', '.join(known)}, each as NAME or "
            "NAME@VERSION"
        )
        self.asked = asked


class Registry:
    """Definitions by name and version, with those that are steps of them. Raises `DefinitionError`
    when one is there twice."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self._by_version: dict[tuple[str, int], Definition] = {}
        self._latest: dict[str, Definition] = {}
        given = tuple(definitions)
        for definition in given:
            if self.version(definition.name, definition.version) is not None:
                raise _twice(definition)
            self._add(definition)
        for definition in given:
            self._add_children(definition)

    def _add(self, definition: Definition) -> None:
        name, version = definition.name, definition.version
        self._by_version[name, version] = definition
        latest = self._latest.get(name)
        if latest is None or latest.version < version:
            self._latest[name] = definition

    def _add_children(self, definition: Definition) -> None:
        for child in definition.children:
            known = self.version(child.name, child.version)
            if known is None:
                self._add(child)
            elif known.plan != child.plan:
                raise _twice(child)
            self._add_children(child)

    def latest(self, name: str) -> Definition | None:
        """The definition that a new saga of this name runs."""
        return self._latest.get(name)

    def version(self, name: str, version: int) -> Definition | None:
        """One version of a definition."""
        return self._by_version.get((name, version))

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions of a name, the oldest first; empty when there is no such name."""
        return tuple(sorted(version for one, version in self._by_version if one == name))

    def find(self, text: str) -> Definition:
        """By NAME, which is the latest version, or NAME@VERSION. Raises `UnknownDefinition`."""
        name, at, version = text.partition("@")
        found = self._latest.get(name)
        if at:
            found = self._by_version.get((name, int(version) if version.isdecimal() else 0))
        if found is None:
            known = (f"{one}@{number}" for one, number in sorted(self._by_version))
            raise UnknownDefinition(text, known)
        return found

    def names(self) -> tuple[str, ...]:
        """The names that can be started, sorted."""
        return tuple(sorted(self._latest))


def _twice(definition: Definition) -> DefinitionError:
    return DefinitionError(definition.name, f"version {definition.version} is defined twice")


_SHIPPED = (
    TRANSFER,
    RESERVED_TRANSFER,
    SPLIT_TRANSFER,
    FX_TRANSFER,
    APPROVED_TRANSFER,
    SCHEDULED_TRANSFER,
    STANDING_ORDER,
    PAYROLL,
    PAYROLL_ALL_OR_NONE,
    FEE,
    TRANSFER_WITH_FEE,
    REVERSAL,
)


@cache
def shipped() -> Registry:
    """The definitions that a bank runs by itself."""
    return Registry(_SHIPPED)


def configured(payout_accounts: Mapping[str, str], more: Iterable[Definition] = ()) -> Registry:
    """The definitions of a bank with these settings: `external_payout` only where somebody carries
    money out, that is, where there are settlement accounts (currency -> account). `more`: besides
    those that ship."""
    outside = (external_payout(payout_accounts),) if payout_accounts else ()
    own = tuple(more)
    return Registry((*_SHIPPED, *outside, *own)) if outside or own else shipped()
