"""What clients and the world outside have of the bank, held against what it says in the end:
nothing that needs a person's word is done without it, each payout is made once if its saga is
completed and not at all if it is taken back, and the bank's own accounts hold what the transfers
left there. Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from chaos.payments import Payment
from chaos.roles import FREE_UP_TO_MINOR, SETTLEMENT

PROMISED: Final = ("approved_transfer", "external_payout", "fx_transfer")
"""The definitions that are looked at here."""

OWN_WORD: Final = "own"
"""The word of the one who asked for the transfer; the bank must not take it."""


class Ended(NamedTuple):
    """A saga as the bank tells of it in the end."""

    id: str
    definition: str
    state: str
    params: Mapping[str, Any]


def unapproved(sagas: Iterable[Ended], words: Mapping[str, str]) -> Iterator[str]:
    """Transfers that went through without another person's approval. `words`: saga -> `approve`,
    `reject` or `own`, as far as the bank has accepted it."""
    for saga in sagas:
        word = words.get(saga.id, "")
        if word == OWN_WORD:
            yield f"{saga.id}: approved by the one who asked for it"
        elif (
            saga.definition == "approved_transfer"
            and saga.params["amount_minor"] > FREE_UP_TO_MINOR
            and saga.state == "completed"
            and word != "approve"
        ):
            yield f"{saga.id}: completed, and the word was {word or 'none'}"


def unpaid(sagas: Iterable[Ended], payments: Iterable[Payment]) -> Iterator[str]:
    """Payouts that were made otherwise than the bank says: of a completed saga one of just that
    amount to just that account, of one that was taken back none."""
    made: defaultdict[str, list[Payment]] = defaultdict(list)
    for payment in payments:
        made[payment.saga_id].append(payment)
    for saga in sagas:
        if saga.definition != "external_payout":
            continue
        found = made.pop(saga.id, [])
        if len(found) > 1:
            yield f"{saga.id}: paid {len(found)} times"
        elif saga.state == "completed" and not found:
            yield f"{saga.id}: completed and never paid"
        elif saga.state == "compensated" and found:
            yield f"{saga.id}: taken back and paid"
        for one in found:
            for name in ("amount_minor", "currency", "creditor_account"):
                paid, asked = getattr(one, name), saga.params[name]
                if paid != asked:
                    yield f"{saga.id}: {name} {paid} paid, {asked} asked for"
    for saga_id, found in made.items():
        yield f"{saga_id}: paid {len(found)} times, and there is no such payout"


def misbooked(
    sagas: Iterable[Ended], opened: Mapping[str, int], found: Mapping[str, int]
) -> Iterator[str]:
    """The bank's own accounts that hold something else than the exchanges and payouts left there.
    `opened`: what they began with; `found`: what they hold."""
    expected = Counter(opened)
    for saga in sagas:
        params = saga.params
        if saga.state != "completed":
            continue
        if saga.definition == "external_payout":
            expected[SETTLEMENT] += params["amount_minor"]
        elif saga.definition == "fx_transfer":
            expected[params["source_liquidity"]] += params["amount_minor"]
            expected[params["target_liquidity"]] -= params["target_amount_minor"]
    for account, balance in expected.items():
        if found.get(account) != balance:
            yield f"{account} holds {found.get(account)}, and {balance} was left there"
