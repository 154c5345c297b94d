"""What callers were told is what the journals say."""

from collections.abc import Iterator

from messages.saga import SagaAccepted, StartRefused, StartRepeated, StartSaga
from messages.wire import encode
from simulation.callers import Exchange
from simulation.courses import Courses
from simulation.history import Fact, Histories


def answers(histories: Histories, courses: Courses, exchanges: list[Exchange]) -> Iterator[str]:
    counting: dict[tuple[object, int], Fact] = {
        (fact.place, fact.offset): fact for journal in histories.journals for fact in journal.facts
    }
    for request, (place, offset, event) in exchanges:
        where = f"answers: {place} offset {offset}: {type(event).__name__}"
        if (place, offset) not in counting:
            yield f"{where} was told to a caller but does not count"
            continue
        if isinstance(event, SagaAccepted):
            fact = counting[place, offset]
            said = (fact.type, fact.fields.get("saga_id"), fact.fields.get("request_id"))
            same = said == ("saga.SagaStarted", event.saga_id, event.request_id)
        else:
            same = histories.records[place][offset].value == encode(event)
        if not same:
            yield f"{where} is not what was told to a caller"
        if isinstance(request, StartSaga):
            for what in _start(request, event, offset, courses):
                yield f"{where} {what}"


def _start(
    request: StartSaga,
    event: SagaAccepted | StartRepeated | StartRefused,
    offset: int,
    courses: Courses,
) -> Iterator[str]:
    course = courses.by_id.get(request.saga_id)
    if isinstance(event, StartRefused):
        if event.reason == "idempotency_key_reused" and (
            course is None or course.asked_for == request.params
        ):
            yield "refuses a repetition of the same request"
        return
    if course is None:
        yield "tells of a saga that does not exist"
    elif course.asked_for != request.params:
        yield "accepts a used key with another body"
    elif isinstance(event, StartRepeated) and course.state_at(offset) != event.state:
        yield f"tells {event.state}, the journal {course.state_at(offset)}"
