"""Snapshots: a cache of the folded state, so that a restart need not read the whole journal.

A snapshot is a set of chunks under keys of its own (`<epoch>.<number>/<chunk>`) plus a manifest
written last. Chunks are never overwritten, so neither a crash in the middle nor a deposed writer
can mix two states: whoever finds a chunk missing takes an older snapshot, or reads the journal
from its beginning. Deleting the topic loses nothing.
"""

import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
import structlog

from journal.log import Entry, Log, Place
from journal.progress import ProgressState
from messages.wire import Undecodable, encode

log_event = structlog.get_logger("journal.snapshots")

_READ_RECORDS: Final = 1000


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag="journal.Snapshot.v1"):
    """`journal_next`: the first journal offset that is not in the snapshot."""

    epoch: int
    number: int
    journal_next: int
    chunks: int
    bytes: int
    checksum: int
    progress: ProgressState


class Snapshot(NamedTuple):
    manifest: Manifest
    chunks: list[bytes]


_manifests: Final = msgspec.json.Decoder(Manifest)


def _decode_manifest(value: bytes) -> Manifest:
    try:
        return _manifests.decode(value)
    except msgspec.MsgspecError as error:
        raise Undecodable(str(error)) from error


async def save(
    log: Log,
    place: Place,
    *,
    epoch: int,
    number: int,
    journal_next: int,
    progress: ProgressState,
    chunks: Iterable[bytes],
) -> Manifest:
    """Write a snapshot to `place`, the manifest last.

    Raises LogError; a snapshot cut short is never taken for a whole one.
    """
    writer = log.writer()
    try:
        count = size = checksum = 0
        for chunk in chunks:
            await writer.append(place, [Entry(f"{epoch}.{number}/{count}".encode(), chunk)])
            checksum = zlib.crc32(chunk, checksum)
            count += 1
            size += len(chunk)
        manifest = Manifest(
            epoch=epoch,
            number=number,
            journal_next=journal_next,
            chunks=count,
            bytes=size,
            checksum=checksum,
            progress=progress,
        )
        key = f"{epoch}.{number}/manifest".encode()
        await writer.append(place, [Entry(key, encode(manifest))])
        return manifest
    finally:
        await writer.close()


async def load(log: Log, place: Place) -> Snapshot | None:
    """The newest whole snapshot in `place`, or None."""
    start, end = await log.bounds(place)
    if start >= end:
        return None
    chunks: dict[str, dict[int, bytes]] = {}
    manifests: list[Manifest] = []
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
                if record.key is None or record.value is None:
                    continue
                name, _, part = record.key.decode(errors="replace").partition("/")
                if part == "manifest":
                    try:
                        manifests.append(_decode_manifest(record.value))
                    except Undecodable as error:
                        log_event.warning(
                            "snapshot_unreadable", place=str(place), reason=error.reason
                        )
                elif part.isdigit():
                    chunks.setdefault(name, {})[int(part)] = record.value
    finally:
        await reader.close()
    for manifest in sorted(manifests, key=lambda m: m.journal_next, reverse=True):
        found = chunks.get(f"{manifest.epoch}.{manifest.number}", {})
        parts = [found[i] for i in range(manifest.chunks) if i in found]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        if len(parts) == manifest.chunks and checksum == manifest.checksum:
            return Snapshot(manifest, parts)
        log_event.warning(
            "snapshot_torn", place=str(place), epoch=manifest.epoch, number=manifest.number
        )
    return None


async def forget(log: Log, place: Place, manifest: Manifest) -> None:
    """Let compaction remove a snapshot that a newer one replaces."""
    name = f"{manifest.epoch}.{manifest.number}"
    # The manifest first: a snapshot that lacks chunks must not look whole.
    entries = [Entry(f"{name}/manifest".encode(), None)]
    entries += [Entry(f"{name}/{i}".encode(), None) for i in range(manifest.chunks)]
    writer = log.writer()
    try:
        for first in range(0, len(entries), 500):
            await writer.append(place, entries[first : first + 500])
    finally:
        await writer.close()
