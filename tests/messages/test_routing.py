"""Keys go where Kafka's Java client would put them."""

import pytest
from aiokafka.partitioner import murmur2 as clients_murmur2
from hypothesis import given
from hypothesis import strategies as st

from messages.routing import murmur2, partition_of

# org.apache.kafka.common.utils.UtilsTest.testMurmur2: signed, as Java has it.
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}

counts = st.integers(1, 1000)


def signed(number: int) -> int:
    """A 32-bit number as Java's `int`."""
    return number - 2**32 if number >= 2**31 else number


@pytest.mark.parametrize(("key", "expected"), JAVA.items(), ids=JAVA.keys())
def test_murmur2_is_that_of_kafkas_java_client(key: str, expected: int):
    assert signed(murmur2(key.encode())) == expected


@given(st.binary(max_size=70))
def test_murmur2_is_that_of_the_python_client_for_all_bytes(data: bytes):
    assert murmur2(data) == clients_murmur2(data) & 0xFFFFFFFF


@pytest.mark.parametrize(("key", "number"), JAVA.items(), ids=JAVA.keys())
@pytest.mark.parametrize("partitions", [1, 2, 7, 12, 100])
def test_a_keys_partition_is_its_positive_murmur2_modulo_the_count(
    key: str, number: int, partitions: int
):
    # Java's Utils.toPositive clears the sign bit: it does not take the absolute value.
    assert partition_of(key, partitions) == (number & 0x7FFFFFFF) % partitions


@given(st.text(), counts)
def test_every_key_has_a_partition_that_exists(key: str, partitions: int):
    assert 0 <= partition_of(key, partitions) < partitions


@given(st.text(), counts)
def test_a_key_is_hashed_as_utf_8(key: str, partitions: int):
    assert partition_of(key, partitions) == (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
