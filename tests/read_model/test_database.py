import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from read_model import database


@pytest.mark.parametrize(
    ("cause", "passes"),
    [
        (asyncpg.AdminShutdownError("shutting down"), True),
        (asyncpg.CannotConnectNowError("starting up"), True),
        (asyncpg.TooManyConnectionsError("full"), True),
        (asyncpg.DeadlockDetectedError("a victim"), True),
        (asyncpg.ReadOnlySQLTransactionError("a standby"), True),
        (asyncpg.InvalidCatalogNameError("no such database"), False),
        (asyncpg.InvalidPasswordError("wrong"), False),
        (asyncpg.UndefinedTableError("no migrations"), False),
        (asyncpg.UniqueViolationError("opened twice"), False),
    ],
)
def test_only_what_can_pass_is_waited_for(cause: asyncpg.PostgresError, passes: bool) -> None:
    assert database.passes(cause) is passes
    assert database.passes(DBAPIError("INSERT", None, cause)) is passes


def test_a_lost_connection_is_waited_for() -> None:
    assert database.passes(ConnectionRefusedError())
    assert database.passes(TimeoutError())
    assert not database.passes(ValueError())


def test_a_cause_is_one_line_without_the_rows_it_was_about() -> None:
    cause = asyncpg.UniqueViolationError("duplicate key\nDETAIL: Key (account_id)=(alice)")
    assert database.cause_of(DBAPIError("INSERT", None, cause)) == (
        "UniqueViolationError: duplicate key"
    )


def test_an_address_for_people_has_no_password() -> None:
    assert database.address("postgresql+asyncpg://u:secret@db.bank/x") == "db.bank:5432/x"
