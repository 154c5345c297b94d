"""Which definitions there are, and which version of a name is the latest.

New sagas start on the latest version; running ones carry their plan with them and ask nobody.
"""

from collections.abc import Iterable
from functools import cache

from saga_definitions.approved_transfer import APPROVED_TRANSFER
from saga_definitions.compiler import DefinitionError
from saga_definitions.dsl import Definition
from saga_definitions.fx_transfer import FX_TRANSFER
from saga_definitions.reserved_transfer import RESERVED_TRANSFER
from saga_definitions.scheduled_transfer import SCHEDULED_TRANSFER
from saga_definitions.split_transfer import SPLIT_TRANSFER
from saga_definitions.transfer import TRANSFER


class Registry:
    """Definitions by name and version. Raises `DefinitionError` when one is there twice."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self._by_version: dict[tuple[str, int], Definition] = {}
        self._latest: dict[str, Definition] = {}
        for definition in definitions:
            name, version = definition.name, definition.version
            if (name, version) in self._by_version:
                raise DefinitionError(name, f"version {version} is defined twice")
            self._by_version[name, version] = definition
            latest = self._latest.get(name)
            if latest is None or latest.version < version:
                self._latest[name] = definition

    def latest(self, name: str) -> Definition | None:
        """The definition that a new saga of this name runs."""
        return self._latest.get(name)

    def version(self, name: str, version: int) -> Definition | None:
        """One version of a definition."""
        return self._by_version.get((name, version))

    def names(self) -> tuple[str, ...]:
        """The names that can be started, sorted."""
        return tuple(sorted(self._latest))


@cache
def shipped() -> Registry:
    """The definitions that ship."""
    return Registry(
        (
            TRANSFER,
            RESERVED_TRANSFER,
            SPLIT_TRANSFER,
            FX_TRANSFER,
            APPROVED_TRANSFER,
            SCHEDULED_TRANSFER,
        )
    )
