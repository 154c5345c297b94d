"""A long dict does what a dict does, and its views stay what they were."""

import gc
from collections import OrderedDict

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from journal.long_dict import Frozen, LongDict

IDS = st.sampled_from([f"id{number}" for number in range(12)])


class AsADict(RuleBasedStateMachine):
    """Side by side with an OrderedDict; views with copies."""

    def __init__(self) -> None:
        super().__init__()
        self.long = LongDict[int](segment=3)
        self.model = OrderedDict[str, int]()
        self.views: list[tuple[Frozen[int], list[tuple[str, int]]]] = []

    @rule(name=IDS, value=st.integers())
    def put(self, name: str, value: int) -> None:
        self.long[name] = self.model[name] = value

    @rule(name=IDS)
    def pop(self, name: str) -> None:
        assert self.long.pop(name, None) == self.model.pop(name, None)

    @rule(name=IDS, value=st.integers())
    def put_last(self, name: str, value: int) -> None:
        self.long.put_last(name, value)
        self.model.pop(name, None)
        self.model[name] = value

    @rule()
    def clear(self) -> None:
        self.long.clear()
        self.model.clear()

    @rule()
    def forget_the_first(self) -> None:
        first = self.long.first()
        if first is not None:
            del self.long[first]
            del self.model[first]

    @rule()
    def freeze(self) -> None:
        self.views.append((self.long.frozen(), list(self.model.items())))

    @rule(data=st.data())
    def let_a_view_go(self, data: st.DataObject) -> None:
        if self.views:
            self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))

    @invariant()
    def is_the_same(self) -> None:
        assert list(self.long.items()) == list(self.model.items())
        assert self.long.first() == next(iter(self.model), None)
        assert len(self.long) == len(self.model)
        assert self.long.get("id1", 7) == self.model.get("id1", 7)
        assert ("id2" in self.long) is ("id2" in self.model)
        assert self.long == self.model
        for view, entries in self.views:
            assert list(view) == entries


TestAsADict = AsADict.TestCase


def test_a_view_that_is_let_go_costs_nothing_more() -> None:
    found = LongDict[int]()
    found["a"] = 1
    view = found.frozen()
    found["a"] = 2
    assert view.kept == {"a": 1}
    del view
    gc.collect()
    assert not found._views  # pyright: ignore[reportPrivateUsage]


def test_what_was_added_after_a_view_is_not_in_it() -> None:
    found = LongDict[int]()
    for number in range(5_000):
        found[f"id{number}"] = number
    view = found.frozen()
    for number in range(4_000):
        del found[f"id{number}"]
    for number in range(3_000, 9_000):
        found[f"id{number}"] = -number
    assert list(view) == [(f"id{number}", number) for number in range(5_000)]
    assert found.first() == "id4000"
    assert len(found) == 6_000
