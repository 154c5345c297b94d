"""What is known to go wrong with a command, outside of this program: told in one line, without a
traceback. A module of its own, because it has to know everybody's errors and is seldom needed.
"""

from collections.abc import Iterator
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from api.server import CannotListen
from audit.auditor import CannotAudit
from checker.exploration import CannotCheck
from devstack.errors import DevstackError
from journal.log import LogError
from journal.opening import JournalCorrupt, PartitionsChanged
from makegood.client import ApiAway, ApiError
from makegood.settings import SettingsError
from makegood.transfer_file import FileUnusable
from read_model.database import DatabaseUnreachable, cause_of
from read_model.store import RowsMissing
from saga_definitions.order import DefinitionError
from saga_definitions.registry import UnknownDefinition
from simulation.scenario import ScenarioMalformed

_TOLD: Final = (
    SettingsError,
    DevstackError,
    LogError,
    DatabaseUnreachable,
    CannotListen,
    PartitionsChanged,
    JournalCorrupt,
    RowsMissing,
    DefinitionError,
    CannotAudit,
    CannotCheck,
    UnknownDefinition,
    ApiAway,
    ApiError,
    FileUnusable,
    ScenarioMalformed,
)
"""Their texts say what to do."""


def told(error: Exception) -> str | None:
    """The one line; None for what nobody expected."""
    first = next(_leaves(error))
    if isinstance(first, SQLAlchemyError):
        return f"PostgreSQL refused: {cause_of(first)}; check MAKEGOOD_DATABASE_URL"
    return str(first) if isinstance(first, _TOLD) else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
