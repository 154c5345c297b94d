"""One deliberately broken rule."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


class Mutant:
    """`name` says what is broken; used as a context manager it is."""

    def __init__(self, name: str, *changes: tuple[Any, str, Callable[[Any], Any]]) -> None:
        self.name = name
        self._changes = changes

    @contextmanager
    def at_large(self) -> Generator[None]:
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in self._changes]
        for (owner, name, change), (_, _, original) in zip(self._changes, before, strict=True):
            setattr(owner, name, change(original))
        try:
            yield
        finally:
            for owner, name, original in before:
                setattr(owner, name, original)
