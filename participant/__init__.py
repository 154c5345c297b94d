"""The SDK for participants: services that saga steps ask, written in Python.

Bring a handler for each command and call `serve`; the SDK brings the rest: it counts what comes
exactly once, remembers what became of each effect in a journal, answers repetitions and enquiries
from that memory, and sends every answer. See docs/participants.md for a whole participant.

What it guarantees. A handler is called at least once for an effect, and not again once its outcome
is recorded; the outcome that is recorded is the one that the saga is told, however often it asks.
Between the handler's own deed and the recording a crash is possible, so the handler is called
again: what it does must be safe to repeat under the same `effect_id`.
"""

from participant.outcomes import Applied, Declined, Handler, Outcome, Unknown
from participant.serving import serve

__all__ = ["Applied", "Declined", "Handler", "Outcome", "Unknown", "serve"]
