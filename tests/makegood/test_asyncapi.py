"""The AsyncAPI document: it follows the standard's schema, and it says what the messages are."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from makegood.asyncapi import PARTICIPANTS, document
from messages.participant import Enquire
from messages.payout import SendPayout
from messages.saga import StepApplied, StepDeclined
from messages.wire import encode, type_name
from tests.makegood.test_bank import command

SCHEMA = Path(__file__).parent / "schemas" / "asyncapi-3.0.0.json.gz"
"""AsyncAPI's own JSON schema (Apache-2.0), from the npm package @asyncapi/specs."""


def json_of(name: str) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(document(PARTICIPANTS[name], "acme-")))


@pytest.mark.parametrize("name", sorted(PARTICIPANTS))
def test_the_document_follows_the_schema_of_the_standard(name: str):
    validation = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    validator = validation.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(json_of(name))] == []
    broken = json_of(name)
    broken["operations"]["takeCommand"]["action"] = "take"
    assert [*validator.iter_errors(broken)], "the schema is one that can find something"


@pytest.mark.parametrize("name", sorted(PARTICIPANTS))
def test_every_reference_leads_somewhere(name: str):
    whole = json_of(name)
    found = 0

    def walk(node: Any) -> None:
        nonlocal found
        if isinstance(node, dict):
            if "$ref" in node:
                found += 1
                at: Any = whole
                for part in node["$ref"].removeprefix("#/").split("/"):
                    at = at[part]
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(whole)
    assert found > 10


def test_the_document_names_topics_keys_types_and_every_field():
    payout = json_of("payout")
    commands, answers = payout["channels"]["commands"], payout["channels"]["answers"]
    assert (commands["address"], answers["address"]) == (
        "acme-payout.input",
        "acme-orchestrator.input",
    )
    assert commands["bindings"]["kafka"]["partitions"] == PARTICIPANTS["payout"].partitions
    assert "acme-payout.input" in payout["info"]["description"]
    for kind in (SendPayout, Enquire, StepApplied, StepDeclined):
        schema = payout["components"]["schemas"][kind.__name__]
        assert set(schema["properties"]) == {"type", *kind.__struct_fields__}
        assert schema["properties"]["type"]["enum"] == [type_name(kind)]
        assert payout["components"]["messages"][kind.__name__]["name"] == type_name(kind)
    amount = payout["components"]["schemas"]["SendPayout"]["properties"]["amount_minor"]
    assert (amount["format"], amount["maximum"]) == ("int64", 2**63 - 1)


def test_what_is_sent_fits_its_schema():
    validation = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    sent = SendPayout(
        effect_id="s/payout/do",
        issued_at_ms=1,
        saga_id="s",
        step="payout",
        reply_to="orchestrator.input",
        debtor_account="alice",
        creditor_name="Bob",
        creditor_account="DE89370400440532013000",
        amount_minor=2**63 - 1,
        currency="EUR",
        reference="",
    )
    schema = json_of("payout")["components"]["schemas"]["SendPayout"]
    validation.validate(json.loads(encode(sent)), schema)


async def test_the_command_prints_it():
    status, said = await command("asyncapi", "payout", MAKEGOOD_TOPIC_PREFIX="acme-")
    assert status == 0, said
    assert json.loads(said) == json_of("payout")
