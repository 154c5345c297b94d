"""Transfers from a file: CSV with a header line, or one JSON object a line (NDJSON).

Read line by line; nothing is held but the line at hand. A line that can't be used is told with its
number and the reason, and the others go on.

A line's `key` column is its Idempotency-Key. Without one the key is made from the line's content
and from how many equal lines came before it, so the same file again is the same transfers again.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from messages.money import MAX_MINOR

MAX_LINE: Final = 64 * 1024
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
_MAX_DIGITS: Final = len(str(MAX_MINOR))
_REQUIRED: Final = ("source", "target", "amount_minor", "currency")


class FileUnusable(Exception):
    """The file as a whole can't be read as transfers."""


class Order(NamedTuple):
    """A line that can be sent: `body` as the API takes it."""

    line: int
    key: str
    body: dict[str, Any]


class Broken(NamedTuple):
    """A line that can't, and why."""

    line: int
    reason: str


def read_orders(path: Path) -> Iterator[Order | Broken]:
    """The file's lines, numbered from 1. Raises FileUnusable."""
    try:
        with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
            first = file.read(1)
            if not first:
                raise FileUnusable(f"{path} is empty: a header line and transfers are expected")
            file.seek(0)
            seen: Counter[bytes] = Counter()
            found = _json_lines(file) if first == "{" else _csv_lines(path, file)
            for line, fields in found:
                if isinstance(fields, str):
                    yield Broken(line, fields)
                else:
                    yield _order(line, fields, seen)
    except OSError as error:
        raise FileUnusable(f"{path} can't be read: {error.strerror}") from error


def _csv_lines(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    lines = enumerate(_lines(file), 1)
    header = _row(next(lines)[1])
    if isinstance(header, str):
        raise FileUnusable(f"{path} line 1: {header}")
    missing = [name for name in _REQUIRED if name not in header]
    if missing or len(set(header)) != len(header):
        said = f"lacks {', '.join(missing)}" if missing else "names a column twice"
        raise FileUnusable(
            f"{path} line 1: the header {said}; expected: key,{','.join(_REQUIRED)} "
            "and what else the definition takes"
        )
    for number, line in lines:
        if line.strip():
            yield number, _csv_fields(header, _row(line))


def _row(line: str) -> list[str] | str:
    """The cells of one line, or what is wrong. Each line stands alone: a quote that is never
    closed breaks its own line and swallows no other transfer."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True))]
    except csv.Error as error:
        return str(error)


def _csv_fields(header: list[str], row: list[str] | str) -> dict[str, Any] | str:
    if isinstance(row, str):
        return row
    if len(row) != len(header):
        return f"has {len(row)} columns, the header {len(header)}"
    fields: dict[str, Any] = {name: value for name, value in zip(header, row, strict=True) if value}
    amount = fields.get("amount_minor", "")
    # Digits only: int() would take "1_000", "+5" and digits of other scripts.
    if not (amount.isascii() and amount.isdigit() and len(amount) <= _MAX_DIGITS):
        return "amount_minor must be a whole number of minor units"
    fields["amount_minor"] = int(amount)
    return fields


def _json_lines(file: TextIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            yield number, f"is not a JSON object: {error}"
            continue
        yield number, fields if isinstance(fields, dict) else "is not a JSON object"


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith("\n"):
                continue
            # What is cut off could pass as a transfer: nothing of the line is used.
            line = "\x00"
        yield line


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a member stands there twice")
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _order(line: int, fields: dict[str, Any], seen: Counter[bytes]) -> Order | Broken:
    try:
        content = json.dumps(fields, sort_keys=True, allow_nan=False).encode()
    except ValueError:
        return Broken(line, "holds a number that JSON has not")
    if "\\udc" in content.decode():
        return Broken(line, "is not UTF-8")
    body = dict(fields)
    key = body.pop("key", None)
    if key is None:
        digest = blake2b(content, digest_size=16).digest()
        seen[digest] += 1
        key = f"{digest.hex()}-{seen[digest]}"
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return Broken(line, "key must be 1 to 200 visible ASCII characters")
    return Order(line, key, body)
