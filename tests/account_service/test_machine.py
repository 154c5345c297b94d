"""The ledger behind the kernel's protocol."""

from account_service.machine import AccountMachine
from account_service.service import ANSWERS as SERVICE_ANSWERS
from journal.machine import Machine, Output
from journal.topics import ANSWERS
from messages.account import AccountCommand, AccountEvent, CommandRefused, Debited
from messages.saga import SagaInput, StepApplied, StepDeclined
from messages.wire import Codec
from tests.account_service.statement import NOW, debit, deposit, given, open_account

codec: Codec[SagaInput] = Codec(SagaInput)


def machine_with(*commands: AccountCommand) -> AccountMachine:
    machine = AccountMachine()
    for command in commands:
        for event in machine.decide(command, NOW):
            machine.evolve(event)
    return machine


def test_it_is_what_the_kernel_asks_for():
    machine: Machine[AccountCommand, AccountEvent] = AccountMachine()
    assert machine.next_due_ms() is None
    assert list(machine.fire(NOW)) == []


def test_a_command_gets_one_event_and_deciding_changes_nothing():
    machine = machine_with(open_account(effect_id="o"), deposit(9, effect_id="m"))
    (first,) = machine.decide(debit(5), NOW)
    (second,) = machine.decide(debit(5), NOW)
    assert isinstance(first, Debited)
    assert first == second
    assert machine.key_of(first) == "alice"


def test_an_answer_goes_to_the_saga_that_asked():
    machine = machine_with(open_account(effect_id="o"), deposit(9, effect_id="m"))
    (event,) = machine.decide(debit(5), NOW)
    (output,) = machine.outputs(event)
    assert output == Output("orchestrator.input", "saga-1", "saga.StepApplied.v1", output.value)
    answer = codec.decode(output.value)
    assert answer == StepApplied(saga_id="saga-1", step="pay", direction="do", attempt=1)


def test_a_refusal_is_answered_whatever_the_machine_holds_by_then():
    (event,) = AccountMachine().decide(debit(5), NOW)
    assert isinstance(event, CommandRefused)
    (output,) = machine_with(open_account()).outputs(event)
    answer = codec.decode(output.value)
    assert isinstance(answer, StepDeclined)
    assert answer.reason == "account_unknown"


def test_whoever_asked_from_outside_is_told_the_event():
    machine = AccountMachine()
    (event,) = machine.decide(open_account(reply_to="", saga_id=""), NOW)
    (output,) = machine.outputs(event)
    assert (output.topic, output.key) == (ANSWERS, "alice")
    assert SERVICE_ANSWERS.decode(output.value) == event


def test_a_machine_is_restored_from_its_snapshot():
    machine = machine_with(open_account(effect_id="o"), deposit(9, effect_id="m"))
    other = AccountMachine()
    for chunk in machine.snapshot():
        other.restore(chunk)
    assert other.ledger == machine.ledger
    assert other.ledger != given().ledger
