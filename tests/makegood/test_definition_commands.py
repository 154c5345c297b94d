"""`makegood definitions`: what it prints, and how it exits."""

from dataclasses import replace

import msgspec
import pytest

from checker.exploration import CannotCheck
from makegood import definition_commands
from makegood.definition_commands import app
from makegood.troubles import told
from saga_definitions.registry import Registry, UnknownDefinition
from saga_definitions.reserved_transfer import RESERVED_TRANSFER
from saga_definitions.transfer import TRANSFER
from tests.checker.broken import asks, by_hand, credit, debit

HASTIER = replace(
    TRANSFER,
    version=2,
    plan=msgspec.structs.replace(TRANSFER.plan, version=2, deadline_ms=5_000),
)
KNOWN = definition_commands.known
BROKEN = by_hand(debit(), credit("credit", "debit", do=asks("Credit", "bob", 101)))


@pytest.fixture(autouse=True)
def definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry((TRANSFER, HASTIER, RESERVED_TRANSFER, BROKEN))
    monkeypatch.setattr(definition_commands, "known", lambda: registry)
    monkeypatch.setenv("COLUMNS", "200")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit status and what was printed, without runs of blanks."""
    command, bound, _ = app.parse_args(list(words), exit_on_error=False)
    status = 0
    try:
        command(*bound.args, **bound.kwargs)
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status, " ".join(capsys.readouterr().out.split())


def test_list_names_all_versions(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "list")
    assert status == 0
    assert "transfer 1, 2 debit, credit source, target, amount_minor" in text


def test_show_tells_params_rules_and_steps(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = run(capsys, "show", "transfer@1")
    assert "transfer@1, deadline 60 s" in text
    assert "currency an active ISO 4217 currency code" in text
    assert "reference printable text of at most 140 characters (optional)" in text
    assert "source, target differ" in text
    assert "undo Credit(account_id=source, amount_minor=amount_minor, currency=currency)" in text
    assert "pivot true" in text


def test_what_the_settings_let_the_bank_start_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definition_commands, "known", KNOWN)
    with pytest.raises(UnknownDefinition):
        run(capsys, "show", "external_payout")
    monkeypatch.setenv("MAKEGOOD_PAYOUT_ACCOUNTS", '{"EUR": "settlement-eur"}')
    _, text = run(capsys, "show", "external_payout")
    assert "Credit(account_id={EUR: 'settlement-eur'}[currency]," in text
    assert "on_timeout enquire" in text


def test_diff_tells_only_what_is_unlike(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "diff", "transfer@1", "transfer@2") == (
        1,
        "place transfer@1 transfer@2 deadline_ms 60000 5000",
    )
    assert run(capsys, "diff", "transfer", "transfer@2") == (0, "They say the same.")


def test_graph_draws_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    app(["graph", "reserved_transfer"], result_action="return_value")
    assert capsys.readouterr().out.splitlines() == [
        "flowchart LR",
        '    step_hold["<b>hold</b><br/>Hold<br/>undo: Release"]',
        '    step_credit{{"<b>credit</b><br/>Credit"}}',
        '    step_capture(["<b>capture</b><br/>Capture"])',
        "    step_hold --> step_credit",
        "    step_credit --> step_capture",
    ]


def test_graph_draws_an_svg_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    app(["graph", "transfer@1", "--format", "svg"], result_action="return_value")
    drawn = capsys.readouterr().out
    assert drawn.startswith("<svg ") and drawn.endswith("</svg>\n")
    assert ">undo: Credit</text>" in drawn


def test_check_says_how_much_it_has_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "check", "transfer", "--faults", "1")
    assert status == 0
    assert "transfer@2 holds in histories of up to 1 faults" in text
    assert "Within 2 attempts, 1 doubled deliveries and 1 interventions by an operator." in text


def test_check_tells_a_counterexample_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "check", "by_hand", "transfer", "--faults", "0")
    assert status == 1
    assert "by_hand@1 fails" in text
    assert "3 credit#1 is applied knows credit to be applied alice -100 EUR" in text
    assert "the saga is completed with -1 EUR in transit" in text
    assert "transfer@2 holds" in text


def test_what_does_not_exist_or_fit_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("payroll", "transfer@3", "transfer@x", "transfer@"):
        with pytest.raises(UnknownDefinition) as unknown:
            run(capsys, "show", name)
        assert "transfer@1, transfer@2" in (told(unknown.value) or "")
    with pytest.raises(CannotCheck) as refused:
        run(capsys, "check", "transfer", "--params", '{"amount_minor": 0}')
    assert "amount_minor: must be an integer" in (told(refused.value) or "")
    status, text = run(capsys, "check", "transfer", "--params", "[1]")
    assert (status, text[:30]) == (2, "--params must be a JSON object")
