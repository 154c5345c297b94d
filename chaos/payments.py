"""What the world outside has of the bank's payouts: one file for each payment, named by its effect.

A file comes into being whole or not at all, and only once under its name, whoever is killed while
it does. The bank never reads it; a run's verdict does.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import quote

import msgspec

from messages.payout import SendPayout

_FAIR = "fair"
_NEW = "new"


class Payment(msgspec.Struct, frozen=True):
    """So much went to `creditor_account`, because the step of the saga asked for it."""

    effect_id: str
    saga_id: str
    creditor_account: str
    amount_minor: int
    currency: str

    @classmethod
    def of(cls, command: SendPayout) -> Self:
        return cls(
            command.effect_id,
            command.saga_id,
            command.creditor_account,
            command.amount_minor,
            command.currency,
        )


class Payments:
    """The record in `folder`, which several processes may write to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = folder / "made"
        self._new = folder / _NEW
        self._fair = folder / _FAIR
        for needed in (self._made, self._new):
            needed.mkdir(parents=True, exist_ok=True)

    @classmethod
    def anew(cls, folder: Path) -> Self:
        """An empty one; what an earlier run has left there goes."""
        shutil.rmtree(folder, ignore_errors=True)
        return cls(folder)

    def pay(self, command: SendPayout) -> None:
        """Pay, unless that effect was paid before: whoever is asked under a name that is known
        (an idempotency key) does nothing more."""
        new = self._new / uuid.uuid4().hex
        new.write_bytes(msgspec.json.encode(Payment.of(command)))
        with contextlib.suppress(FileExistsError):
            os.link(new, self._file(command))
        new.unlink()

    def has(self, command: SendPayout) -> bool:
        return self._file(command).exists()

    def all(self) -> Iterator[Payment]:
        """In no order."""
        for file in self._made.iterdir():
            yield msgspec.json.decode(file.read_bytes(), type=Payment)

    @property
    def fair(self) -> bool:
        """Whether whoever carries payouts out has to answer at once and truly."""
        return self._fair.exists()

    def clear_up(self) -> None:
        """From now on it is `fair`."""
        self._fair.touch()

    def _file(self, command: SendPayout) -> Path:
        return self._made / quote(command.effect_id, safe="")
