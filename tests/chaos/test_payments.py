"""The record of payments that is compared with the bank's."""

from pathlib import Path

from msgspec.structs import replace

from chaos.payments import Payment, Payments
from messages.payout import SendPayout

_COMMAND = SendPayout(
    effect_id="saga/payout/do",
    saga_id="saga",
    issued_at_ms=1,
    debtor_account="alice",
    creditor_name="Bob",
    creditor_account="DE89",
    amount_minor=100,
    currency="EUR",
    reference="r",
)


def test_an_effect_is_paid_once_by_whichever_process_comes_first(tmp_path: Path) -> None:
    one, other = Payments(tmp_path), Payments(tmp_path)
    assert not one.has(_COMMAND)
    one.pay(_COMMAND)
    other.pay(replace(_COMMAND, attempt=2))
    assert other.has(_COMMAND)
    assert list(other.all()) == [Payment.of(_COMMAND)]


def test_another_effect_is_another_payment_also_of_the_same_saga(tmp_path: Path) -> None:
    payments = Payments(tmp_path)
    payments.pay(_COMMAND)
    payments.pay(replace(_COMMAND, effect_id="saga/payout/do/again"))
    assert len(list(payments.all())) == 2


def test_a_new_run_begins_with_no_payments_and_in_foul_weather(tmp_path: Path) -> None:
    before = Payments(tmp_path)
    before.pay(_COMMAND)
    before.clear_up()
    assert before.fair
    anew = Payments.anew(tmp_path)
    assert not anew.fair
    assert list(anew.all()) == []
