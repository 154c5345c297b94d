"""The course of a step with legs: which of them are next, and when it can go on no further.

At most `width` legs are under way at once, whichever way the saga goes. A leg that nobody can tell
about does not hold up the others: a person is asked when there is nothing left to do. Pure.
"""

from itertools import islice

from messages.instant import instant_ms
from orchestrator.graph import Node, leg_node
from orchestrator.legs import PENDING, Legs
from orchestrator.progress import Saga
from orchestrator.references import within


def legs_to_ask(saga: Saga, node: Node) -> list[Node]:
    """The legs that are asked for next; empty while all that may be are under way."""
    letters = saga.legs[node.of].letters
    found: list[Node] = []
    leg = letters.find(PENDING)
    for _ in range(_room(saga, node)):
        if leg < 0:
            break
        found.append(leg_node(node, leg))
        leg = letters.find(PENDING, leg + 1)
    return found


def due_ms(saga: Saga, leg: Node) -> int:
    """When a leg with a time of its own is due: its element says so. 0: it need not wait."""
    return instant_ms(within(saga.params, (*leg.each[1:], str(leg.leg)))) or 0


def legs_to_take_back(saga: Saga, node: Node) -> list[Node]:
    """The legs that are taken back next, the last one last."""
    legs = islice(saga.legs[node.of].to_take_back(), _room(saga, node))
    return [leg_node(node, leg) for leg in legs][::-1]


def _room(saga: Saga, node: Node) -> int:
    return max(0, node.step.width - saga.legs[node.of].under_way)


def stuck_leg(node: Node, legs: Legs) -> int | None:
    """The leg for which the step fails, or the saga needs a person; None while it goes on.

    Before the pivot one leg that fails is enough; from there on all the others come first.
    """
    if node.reversible and legs.refused:
        return legs.first_refusal()[0]
    if node.reversible or not (legs.pending or legs.under_way):
        return legs.left_open()
    return None


def lost_leg(legs: Legs) -> int | None:
    """The leg that can't be taken back by itself, once all others are that can be."""
    if legs.under_way or next(legs.to_take_back(), None) is not None:
        return None
    return legs.left_open()
