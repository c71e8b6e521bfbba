"""Xet's protocol for the Hub double, after its published specification.

Clients upload blocks of chunks (xorbs) and shards that list the chunks of each file. Each file is assembled from its
chunks and refused if it does not have the SHA-256 in its shard.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping

import pyarrow as pa
from hub_store import RefusalError

XORB_FOOTER = b"XETBLOB"
END_OF_FILES = b"\xff" * 32
ENTRY = 48
"""The number of bytes of a shard's header and of each of its entries."""
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30


def chunks_of(xorb: bytes) -> list[bytes]:
    """Return the chunks of a xorb, which are stored uncompressed, with LZ4, or with LZ4 and grouped bytes."""
    chunks, at = [], 0
    while at < len(xorb) and not xorb.startswith(XORB_FOOTER, at):
        packed, size = (int.from_bytes(xorb[at + i : at + i + 3], "little") for i in (1, 5))
        scheme, at = xorb[at + 4], at + 8
        chunk, at = xorb[at : at + packed], at + packed
        if scheme:
            chunk = pa.decompress(chunk, size, codec="lz4", asbytes=True)
        if scheme == 2:
            grouped, chunk, first = chunk, bytearray(size), 0
            for i in range(4):
                chunk[i::4] = grouped[first : first + len(chunk[i::4])]
                first += len(chunk[i::4])
        chunks.append(bytes(chunk))
    return chunks


def files_of(shard: bytes, xorbs: Mapping[str, list[bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield the SHA-256 and the content of each file in a shard; raise RefusalError if something is wrong."""
    at = ENTRY
    while not shard.startswith(END_OF_FILES, at):
        flags, terms = struct.unpack_from("<2I", shard, at + 32)
        content = b""
        for _ in range(terms):
            at += ENTRY
            first, end = struct.unpack_from("<2I", shard, at + 40)
            if (xorb := _hash(shard, at)) not in xorbs:
                raise RefusalError(400, f"the xorb {xorb} was not uploaded")
            content += b"".join(xorbs[xorb][first:end])
        at += ENTRY * (terms + 1 if flags & HAS_VERIFICATION else 1)
        if not flags & HAS_SHA256 or _hash(shard, at) != hashlib.sha256(content).hexdigest():
            raise RefusalError(400, "a file does not have the SHA-256 that the shard gives it")
        yield _hash(shard, at), content
        at += ENTRY


def _hash(shard: bytes, at: int) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack_from("<4Q", shard, at))
