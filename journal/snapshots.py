"""Snapshots: a cache of the folded state, so that a restart need not read the whole journal.

A snapshot is a set of chunks under keys of its own (`<epoch>.<number>/<chunk>`) plus a manifest
written last. Chunks are never overwritten, so neither a crash in the middle nor a deposed writer
can mix two states: whoever finds a chunk missing takes an older snapshot, or reads the journal
from its beginning. Deleting the topic loses nothing.
"""

import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec
import structlog

from journal.log import Entry, Headers, Log, Place
from journal.progress import ProgressState
from journal.records import ID, header
from messages.wire import Undecodable, encode

log_event = structlog.get_logger("journal.snapshots")

_READ_RECORDS: Final = 1000
_PIECE_BYTES: Final = 256 * 1024


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag="journal.Snapshot.v2"):
    """`journal_next`: the first journal offset that is not in the snapshot; `mark`: that of the
    record before it, so that a snapshot is never taken for one of another journal. The first
    `progress_chunks` of the `chunks` are the kernel's own state."""

    epoch: int
    number: int
    journal_next: int
    mark: int
    chunks: int
    progress_chunks: int
    bytes: int
    checksum: int


class Snapshot(NamedTuple):
    manifest: Manifest
    progress: ProgressState
    chunks: list[bytes]


class Found(NamedTuple):
    """What is in the topic: the newest whole snapshot, and the keys of everything else."""

    snapshot: Snapshot | None
    stale: list[bytes]


def mark(value: bytes | None, headers: Headers) -> int:
    """A digest of one journal record: its content and the id that its writer gave it."""
    return zlib.crc32(value or b"", zlib.crc32(header(headers, ID) or b""))


_manifests: Final = msgspec.json.Decoder(Manifest)
_progress: Final = msgspec.json.Decoder(ProgressState)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _decode_manifest(value: bytes) -> Manifest:
    try:
        return _manifests.decode(value)
    except _UNREADABLE as error:
        raise Undecodable(str(error)) from error


async def save(
    log: Log,
    place: Place,
    *,
    epoch: int,
    number: int,
    journal_next: int,
    mark: int,
    progress: ProgressState,
    chunks: Iterable[bytes],
) -> Manifest:
    """Write a snapshot to `place`, the manifest last.

    Raises LogError; a snapshot cut short is never taken for a whole one.
    """
    writer = log.writer()
    try:
        count = size = checksum = 0
        head = _pieces(encode(progress))
        for chunk in chain(head, chunks):
            await writer.append(place, [Entry(f"{epoch}.{number}/{count}".encode(), chunk)])
            checksum = zlib.crc32(chunk, checksum)
            count += 1
            size += len(chunk)
        manifest = Manifest(
            epoch=epoch,
            number=number,
            journal_next=journal_next,
            mark=mark,
            chunks=count,
            progress_chunks=len(head),
            bytes=size,
            checksum=checksum,
        )
        key = f"{epoch}.{number}/manifest".encode()
        await writer.append(place, [Entry(key, encode(manifest))])
        return manifest
    finally:
        await writer.close()


def _pieces(content: bytes) -> list[bytes]:
    return [content[at : at + _PIECE_BYTES] for at in range(0, len(content), _PIECE_BYTES)]


async def load(log: Log, place: Place) -> Found:
    """The newest whole snapshot in `place`, if there is one."""
    start, end = await log.bounds(place)
    chunks: dict[str, dict[int, bytes]] = {}
    manifests: list[Manifest] = []
    keys: dict[bytes, None] = {}
    reader = log.reader({place: start})
    try:
        reached = start
        while reached < end:
            records = (await reader.read(_READ_RECORDS, 1000)).get(place, ())
            if not records:
                # Compaction may have removed the last records; nothing more will come.
                break
            for record in records:
                reached = record.offset + 1
                if record.key is None:
                    continue
                keys[record.key] = None
                name, _, part = record.key.decode(errors="replace").partition("/")
                if record.value is None:
                    del keys[record.key]
                    chunks.get(name, {}).pop(_number(part), None)
                elif part == "manifest":
                    try:
                        manifests.append(_decode_manifest(record.value))
                    except Undecodable as error:
                        log_event.warning(
                            "snapshot_unreadable", place=str(place), reason=error.reason
                        )
                elif _number(part) >= 0:
                    chunks.setdefault(name, {})[_number(part)] = record.value
    finally:
        await reader.close()
    chosen = _newest(place, manifests, chunks)
    if chosen is not None:
        ours = f"{chosen.manifest.epoch}.{chosen.manifest.number}/".encode()
        return Found(chosen, [key for key in keys if not key.startswith(ours)])
    return Found(None, list(keys))


def _newest(
    place: Place, manifests: list[Manifest], chunks: dict[str, dict[int, bytes]]
) -> Snapshot | None:
    for manifest in sorted(manifests, key=lambda m: m.journal_next, reverse=True):
        found = chunks.get(f"{manifest.epoch}.{manifest.number}", {})
        # Not `range(chunks)`: that number is whatever the record says.
        parts = [found[i] for i in sorted(found) if i < manifest.chunks]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        if len(parts) == manifest.chunks and checksum == manifest.checksum:
            head, rest = parts[: manifest.progress_chunks], parts[manifest.progress_chunks :]
            try:
                return Snapshot(manifest, _progress.decode(b"".join(head)), rest)
            except _UNREADABLE as error:
                log_event.warning("snapshot_unreadable", place=str(place), reason=str(error))
                continue
        log_event.warning(
            "snapshot_torn", place=str(place), epoch=manifest.epoch, number=manifest.number
        )
    return None


def _number(part: str) -> int:
    """The number of a chunk; -1 if the key is not one."""
    return int(part) if part.isascii() and part.isdigit() and len(part) < 10 else -1


def keys_of(manifest: Manifest) -> list[bytes]:
    """Its records. The manifest first: a snapshot that lacks chunks must not look whole."""
    name = f"{manifest.epoch}.{manifest.number}"
    return [f"{name}/{part}".encode() for part in ("manifest", *range(manifest.chunks))]


async def forget(log: Log, place: Place, keys: Sequence[bytes]) -> None:
    """Let compaction remove what a newer snapshot replaces."""
    entries = [Entry(key, None) for key in keys]
    writer = log.writer()
    try:
        for first in range(0, len(entries), 500):
            await writer.append(place, entries[first : first + 500])
    finally:
        await writer.close()
