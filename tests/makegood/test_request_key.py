"""A command without a key whose outcome is unknown tells the key that makes repeating it safe."""

import re
from typing import Any

import pytest

from makegood.cli import app
from makegood.client import ApiAway, Client

COMMANDS = [
    ["account", "deposit", "a", "100", "EUR"],
    ["account", "withdraw", "a", "100", "EUR"],
    ["account", "open", "EUR"],
    ["transfer", "start", "a", "b", "100", "EUR"],
    ["transfer", "reverse", "0" * 32],
    ["saga", "approve", "0" * 32, "--who", "ann"],
    ["saga", "reject", "0" * 32, "--who", "ann"],
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were asked under; nothing is ever answered."""
    keys: list[str] = []

    async def away(
        self: Client, method: str, path: str, body: Any = None, headers: Any = None
    ) -> None:
        keys.append(headers["Idempotency-Key"])
        raise ApiAway("http://b:1", 60, "TimeoutError")

    monkeypatch.setattr(Client, "ask", away)
    return keys


@pytest.mark.parametrize("words", COMMANDS)
def test_the_key_that_makes_repeating_safe_is_told(
    asked: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ApiAway):
        app(words)
    told = re.search(r"again with --key (\w+)", capsys.readouterr().err)
    assert told is not None
    with pytest.raises(ApiAway) as away:
        app([*words, "--key", told[1]])
    assert asked[0] == asked[1]
    assert "--key" not in capsys.readouterr().err
    assert "same command again" not in str(away.value)


def test_whoever_interrupts_is_told_it_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "ask", interrupted)
    with pytest.raises(SystemExit, match="130"):
        app(["account", "deposit", "a", "100", "EUR"])
    assert re.search(r"--key \w{32}", capsys.readouterr().err)


def test_an_empty_key_is_not_replaced_by_a_fresh_one(asked: list[str]) -> None:
    with pytest.raises(ApiAway):
        app(["account", "deposit", "a", "100", "EUR", "--key", ""])
    assert asked == [""]
