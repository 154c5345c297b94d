"""A dict of millions of entries that never grows at once: it is made of many small ones. A single
dict of a million entries holds the event loop for 30 ms and more when it grows.
"""

from collections.abc import Hashable, Iterator, MutableMapping
from itertools import chain
from typing import Final, TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

_PARTS: Final = 64


class PartedDict(MutableMapping[K, V]):
    """As a dict, but in no order that anybody could rely on."""

    def __init__(self) -> None:
        self._parts: list[dict[K, V]] = [{} for _ in range(_PARTS)]

    def _part(self, key: object) -> dict[K, V]:
        return self._parts[hash(key) % _PARTS]

    def __getitem__(self, key: K) -> V:
        return self._part(key)[key]

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: T, /) -> V | T: ...
    def get(self, key: K, default: object = None, /) -> object:
        # The mixin's raises and catches for each one that is not there, as most are.
        return self._part(key).get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._part(key)

    def __setitem__(self, key: K, value: V) -> None:
        self._part(key)[key] = value

    def __delitem__(self, key: K) -> None:
        del self._part(key)[key]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._parts)
