"""The contract of a participant as an AsyncAPI 3.0 document, made from the message types: what a
participant in any language has to know, and no more.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from messages.participant import Enquire, StepCommand
from messages.participants import ACCOUNTS, PAYOUTS, Participant
from messages.saga import StepApplied, StepDeclined
from messages.wire import type_name

PARTICIPANTS: Final = {participant.name: participant for participant in (ACCOUNTS, PAYOUTS)}

_ANSWERS: Final = "orchestrator.input"
_KAFKA_BINDING: Final = "0.5.0"

_RULES: Final = """\
A saga asks the participant `{name}` by commands on `{topic}`; it answers on `{answers}`.

1. **Do an effect once.** `effect_id` names it. Commands may come several times, with a growing
   `attempt`: do nothing again, and answer with the first outcome. Remember an effect for 7 days
   after `issued_at_ms`; decline a command that is older and not remembered as `effect_expired`.
2. **Answer every command**, after what you did is durable: `StepApplied`, or `StepDeclined` with a
   reason in lower case that says why it is not done. Copy `saga_id`, `step`, `direction` and
   `attempt` from the command. The record's key is `saga_id`, partitioned by murmur2 as in Kafka's
   Java client. The headers of the commands need not be set on answers. An answer may be sent twice.
3. **Never guess.** Decline as `outcome_unknown` while you can't tell; you are asked again.
4. **An enquiry does nothing.** To `Enquire` answer what became of `effect_id`, naming the enquiry's
   own `attempt`: applied, declined with its reason, `outcome_unknown`, or `effect_unknown` if no
   command of it has come; then it is sent again. What you have told it to be declined must not be
   done any more by a command of a lower `attempt` that comes late.
5. **A compensation** has `direction` `undo` and names in `undoes` what it takes back. If that never
   came, remember it as void, decline it as `effect_voided` when it comes, and answer `StepApplied`.
6. **Amounts are integers of up to 63 bits.** A JSON reader that makes doubles of them loses money.
7. Fields are only ever added: ignore those you do not know.
"""

_HEADERS: Final = {
    "type": "object",
    "description": "CloudEvents attributes in Kafka's binary mode. With `ce_source` and "
    "`ce_sequence` a receiver can count: per source the numbers grow by one; a number that it has "
    "had is a repetition.",
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_type": {"type": "string", "description": "The same as `type` in the payload."},
        "ce_source": {"type": "string", "description": "The sender's journal partition."},
        "ce_sequence": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "ce_id": {"type": "string"},
    },
}


def document(participant: Participant, topic_prefix: str = "") -> dict[str, Any]:
    """What `participant` takes and answers. Only JSON types.

    `topic_prefix`: what the deployment puts before every topic's name.
    """
    commands: list[type[msgspec.Struct]] = sorted(participant.commands, key=type_name)
    if participant.enquiries:
        commands.append(Enquire)
    answers: list[type[msgspec.Struct]] = [StepApplied, StepDeclined]
    _, schemas = msgspec.json.schema_components(
        [*commands, *answers], ref_template="#/components/schemas/{name}"
    )
    for schema in schemas.values():
        _tidy(schema)
    topic, answered = topic_prefix + participant.topic, topic_prefix + _ANSWERS
    rules = _RULES.format(name=participant.name, topic=topic, answers=answered)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Makegood participant: {participant.name}",
            "version": version("makegood"),
            "description": rules,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "commands": _channel(topic, commands, participant.partitions),
            "answers": _channel(answered, answers, 0),
        },
        "operations": {
            "takeCommand": {
                "action": "receive",
                "channel": {"$ref": "#/channels/commands"},
                "messages": _refs("commands", commands),
                "reply": {
                    "channel": {"$ref": "#/channels/answers"},
                    "messages": _refs("answers", answers),
                },
            },
        },
        "components": {
            "schemas": schemas,
            "messages": {
                **{
                    kind.__name__: _message(kind, _key_of(participant, kind), headers=True)
                    for kind in commands
                },
                **{kind.__name__: _message(kind, "saga_id") for kind in answers},
            },
        },
    }


def _channel(topic: str, kinds: Sequence[type[msgspec.Struct]], partitions: int) -> dict[str, Any]:
    kafka: dict[str, Any] = {"topic": topic, "bindingVersion": _KAFKA_BINDING}
    if partitions:
        kafka["partitions"] = partitions
    return {
        "address": topic,
        "messages": {
            kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in kinds
        },
        "bindings": {"kafka": kafka},
    }


def _refs(channel: str, kinds: Sequence[type[msgspec.Struct]]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"} for kind in kinds]


def _message(kind: type[msgspec.Struct], key: str, *, headers: bool = False) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": type_name(kind),
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"The payload's `{key}`."},
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }
    if headers:
        message["headers"] = _HEADERS
    return message


def _key_of(participant: Participant, kind: type[msgspec.Struct]) -> str:
    return participant.key if issubclass(kind, StepCommand) and kind is not Enquire else "key"


def _tidy(schema: dict[str, Any]) -> None:
    """Docstrings without their indentation, and the width of integers said for generators."""
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    for field in schema.get("properties", {}).values():
        for one in (field, *field.get("anyOf", ())):
            if one.get("type") == "integer":
                one["format"] = "int64"
