"""How things are named, so that the same request always gets the same name.

A saga is named by its caller (tenant, Idempotency-Key); an effect by its saga, step and direction.
Names are what makes a retry recognisable: nothing here is random.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal

import msgspec

Direction = Literal["do", "undo"]


def _digest(*parts: str) -> str:
    # Length prefixes keep ("a", "bc") and ("ab", "c") apart.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def saga_id(tenant: str, idempotency_key: str) -> str:
    """The id of the saga that this caller's key stands for: 32 hex digits."""
    return _digest("saga", tenant, idempotency_key)


def request_effect_id(tenant: str, idempotency_key: str, account: str) -> str:
    """The effect id of a single account command asked for from outside. A key counts for one
    account: two accounts, which know nothing of each other, never share an effect."""
    return "request/" + _digest("request", tenant, idempotency_key, account)


def account_id(tenant: str, idempotency_key: str) -> str:
    """The id of an account whose caller did not choose one: `a` and 15 hex digits."""
    return "a" + _digest("account", tenant, idempotency_key)[:15]


def effect_id(saga: str, step: str, direction: Direction) -> str:
    """The name of one posting. A retry keeps it; only the attempt number grows."""
    return f"{saga}/{step}/{direction}"


def child_id(saga: str, step: str, asked_at_ms: int, life: int) -> str:
    """The id of the saga that a step of `saga` is: 32 hex digits, nobody else's.

    `asked_at_ms`: when the step was first asked for, so that a saga that begins anew under a
    forgotten name finds none of the old one's children. `life`: how many children of the step
    have been declined before; a declined one stays so, and another try is another child.
    """
    return _digest("child", saga, step, str(asked_at_ms), str(life))


_canonical = msgspec.json.Encoder(order="deterministic")


def fingerprint(definition: str, params: Mapping[str, object]) -> str:
    """A digest of what was asked for: equal for equal bodies, whatever their key order."""
    return blake2b(_canonical.encode([definition, dict(params)]), digest_size=12).hexdigest()
