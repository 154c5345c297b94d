"""Where `--api` may stand."""

import sys

import pytest

from makegood import account_commands, cli


@pytest.mark.parametrize(
    "words",
    [
        ["--api", "http://b:1", "account", "unfreeze", "a"],
        ["--api=http://b:1", "account", "unfreeze", "a"],
        ["account", "unfreeze", "a", "--api", "http://b:1"],
    ],
)
def test_the_api_is_named_before_the_command_or_behind_it(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    asked: list[tuple[str | None, ...]] = []
    monkeypatch.setattr(account_commands, "_order", lambda *given: asked.append(given))
    monkeypatch.setattr(sys, "argv", ["makegood", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (0, None)
    assert asked == [("/accounts/a/unfreeze", None, "http://b:1")]


def test_a_command_without_the_option_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["makegood", "--api", "http://b:1", "asyncapi"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2


def test_an_account_that_looks_like_a_path_names_no_other_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(account_commands, "_order", lambda path, *_: asked.append(path))
    account_commands.unfreeze("a/close?")
    assert asked == ["/accounts/a%2Fclose%3F/unfreeze"]
