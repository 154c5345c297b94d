"""Amounts on the command line: what is no whole number of minor units is never rounded to one."""

import pytest
from cyclopts import App
from cyclopts.exceptions import CycloptsError

from makegood import account_commands, transfer_commands

COMMANDS = [
    (account_commands.app, ["deposit", "a", "{}", "EUR"]),
    (account_commands.app, ["withdraw", "a", "{}", "EUR"]),
    (account_commands.app, ["open", "EUR", "--overdraft-limit-minor={}"]),
    (account_commands.app, ["open", "EUR", "--transfer-limit-minor={}"]),
    (account_commands.app, ["open", "EUR", "--daily-limit-minor={}"]),
    (transfer_commands.app, ["start", "a", "b", "{}", "EUR"]),
    (transfer_commands.app, ["reverse", "0" * 32, "{}"]),
    (
        transfer_commands.app,
        ["standing", "a", "b", "{}", "EUR", "--key=k", "--first=2027-01-31", "--zone=UTC"],
    ),
]


def parsed(app: App, words: list[str], amount: str) -> list[object]:
    given = [word.format(amount) for word in words]
    _, bound, _ = app.parse_args(given, print_error=False, exit_on_error=False)
    return list(bound.arguments.values())


@pytest.mark.parametrize(("app", "words"), COMMANDS)
@pytest.mark.parametrize("amount", ["5.5", "5.0", "1e3", "0x10", "0b1", "1_000", "٣", "9" * 20])
def test_what_is_no_whole_number_is_refused_and_not_rounded(
    app: App, words: list[str], amount: str
) -> None:
    with pytest.raises(CycloptsError, match="whole number of minor units"):
        parsed(app, words, amount)


@pytest.mark.parametrize(("app", "words"), COMMANDS)
def test_a_whole_number_is_taken(app: App, words: list[str]) -> None:
    assert 550 in parsed(app, words, "550")


@pytest.mark.parametrize(("app", "words"), COMMANDS)
def test_a_negative_number_is_refused_in_words(app: App, words: list[str]) -> None:
    with pytest.raises(CycloptsError, match="negative: the command says which way"):
        parsed(app, words, "-5")
