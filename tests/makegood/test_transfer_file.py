"""Files of transfers: what is read, what is refused with its line, and which key a line gets."""

from pathlib import Path

import pytest

from makegood.demo_files import generate
from makegood.transfer_file import MAX_LINE, Broken, FileUnusable, Order, read_orders

HEADER = "key,source,target,amount_minor,currency,reference\n"


def read(path: Path, content: str | bytes) -> list[Order | Broken]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_orders(path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "transfers"


def test_a_csv_line_becomes_an_order(file: Path):
    found = read(file, HEADER + "k1,alice,bob,100,EUR,rent\n")
    body = {
        "source": "alice",
        "target": "bob",
        "amount_minor": 100,
        "currency": "EUR",
        "reference": "rent",
    }
    assert found == [Order(2, "k1", body)]


def test_empty_cells_are_left_out_and_empty_lines_passed_over(file: Path):
    (order,) = read(file, HEADER + "\nk1,alice,bob,100,EUR,\n\n")
    assert isinstance(order, Order)
    assert "reference" not in order.body


def test_a_json_line_becomes_an_order(file: Path):
    line = '{"key": "k", "source": "a", "target": "b", "amount_minor": 5, "currency": "EUR"}'
    (order,) = read(file, line + "\n")
    assert order == Order(
        1, "k", {"source": "a", "target": "b", "amount_minor": 5, "currency": "EUR"}
    )


@pytest.mark.parametrize(
    "line",
    [
        "k,alice,bob,1.5,EUR,",
        "k,alice,bob,-1,EUR,",
        "k,alice,bob,+1,EUR,",
        "k,alice,bob,1_000,EUR,",
        "k,alice,bob,,EUR,",
        "k,alice,bob,١٢,EUR,",
        "k,alice,bob," + "9" * 30 + ",EUR,",
        "k,alice,bob,100,EUR",
        "k,alice,bob,100,EUR,a,b",
        'k,"alice,bob,100,EUR,',
        "k k,alice,bob,100,EUR,",
        "\x00",
        "x" * (MAX_LINE + 5) + ",alice,bob,100,EUR,",
    ],
)
def test_a_broken_line_is_told_with_its_number_and_swallows_no_other(file: Path, line: str):
    found = read(file, f"{HEADER}k1,alice,bob,1,EUR,\n{line}\nk2,alice,bob,2,EUR,\n")
    assert [type(one) for one in found] == [Order, Broken, Order]
    assert [one.line for one in found] == [2, 3, 4]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"amount_minor": NaN}',
        '{"source": "a", "source": "b"}',
        '{"key": 5, "source": "a"}',
        "[" * 100_000,
    ],
)
def test_a_broken_json_line_is_told_with_its_number(file: Path, line: str):
    found = read(file, '{"source": "a"}\n' + line + '\n{"source": "b"}\n')
    assert [type(one) for one in found] == [Order, Broken, Order]


def test_bytes_that_are_no_utf8_break_their_line_alone(file: Path):
    found = read(file, HEADER.encode() + b"k1,al\xffice,bob,1,EUR,\nk2,a,b,1,EUR,\n")
    assert [type(one) for one in found] == [Broken, Order]


def test_without_a_key_equal_lines_are_two_transfers_and_the_same_file_the_same_two(file: Path):
    content = "source,target,amount_minor,currency\n" + "a,b,1,EUR\n" * 2 + "a,c,1,EUR\n"
    first = [order.key for order in read(file, content) if isinstance(order, Order)]
    assert len(set(first)) == 3
    assert [order.key for order in read(file, content) if isinstance(order, Order)] == first
    moved = "source,target,amount_minor,currency\nz,z,9,EUR\n" + content.split("\n", 1)[1]
    again = [order.key for order in read(file, moved) if isinstance(order, Order)]
    assert again[1:] == first, "a line added above changes no other line's key"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("source,target\n", "lacks amount_minor, currency"),
        ("source,target,amount_minor,currency,source\n", "names a column twice"),
        ('"source,target\n', "line 1"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(file: Path, content: str, said: str):
    with pytest.raises(FileUnusable, match=said):
        read(file, content)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(FileUnusable, match="can't be read"):
        list(read_orders(tmp_path / "nothing"))


def test_the_demos_files_are_what_their_generator_writes():
    for path, content in generate().items():
        assert path.read_text(encoding="utf-8") == content
