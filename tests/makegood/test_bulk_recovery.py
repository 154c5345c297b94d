"""`makegood saga retry|compensate` of many: only what was said, and never all by a slip."""

from typing import Any

import pytest

from makegood import saga_commands
from makegood.cli import app

BY = ["--who", "ann", "--why", "ticket 7", "--yes"]
SAGA = "0" * 32


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the commands would ask for: action, ids, query."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(saga_commands, "_recover", lambda *given: calls.append(given[:3]))
    return calls


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        app(["saga", *words])
    code = left.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("action", ["retry", "compensate"])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param([], id="nothing"),
        pytest.param([SAGA, "--reason", "other"], id="ids and a filter that they may not match"),
        pytest.param([SAGA, "--all"], id="ids and all"),
        pytest.param(["--all", "--reason", "other"], id="all and a filter"),
    ],
)
def test_what_says_not_which_sagas_is_refused(
    asked: list[tuple[Any, ...]], action: str, given: list[str]
) -> None:
    assert run(action, *given, *BY) == 2
    assert asked == []


def test_a_mistyped_option_is_refused(asked: list[tuple[Any, ...]]) -> None:
    assert run("compensate", "--all", "--reson", "other", *BY) == 2
    assert asked == []


@pytest.mark.parametrize(
    ("given", "ids", "query"),
    [
        ([SAGA], (SAGA,), "state=parked"),
        (["--reason", "other"], (), "state=parked&reason=other"),
        (["--definition", "payroll"], (), "state=parked&definition=payroll"),
        (["--all"], (), "state=parked"),
    ],
)
def test_what_is_said_is_asked_for(
    asked: list[tuple[Any, ...]], given: list[str], ids: tuple[str, ...], query: str
) -> None:
    app(["saga", "retry", *given, *BY], result_action="return_value")
    assert asked == [("retry", ids, query)]
