import pytest

from journal.log import Place
from read_model import position
from read_model.position import PositionMalformed


def test_a_position_is_read_back_as_it_was_written() -> None:
    place = Place("orchestrator.journal", 3)
    text = position.format(place, 1234)
    assert text == "orchestrator.journal/3@1234"
    assert position.parse(text) == (place, 1234)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orchestrator.journal/3",
        "orchestrator.journal@3",
        "orchestrator.journal/3@",
        "orchestrator.journal/-1@4",
        "orchestrator.journal/3@-4",
        "orchestrator.journal/03@4",
        "orchestrator.journal/3@4\n",
        "orchestrator.journal/3@4 ",
        "orchestrator.journal/٣@4",
        "orchestrator.journal/3@1e3",
        "orchestrator.journal/3@9223372036854775808",
        "orchestrator.journal/3@" + "9" * 100_000,
        "/3@4",
        "../3/3@4",
        "a b/3@4",
        "x" * 250 + "/3@4",
        "a/1@2@3",
        "a/1@2\x00",
    ],
)
def test_what_is_no_position_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(PositionMalformed, match=r"orchestrator\.journal/3@1234") as caught:
        position.parse(text)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 400
