"""Kafka requests as bytes (kafka.apache.org/protocol): ApiVersions v3 and Metadata v1, and what others are made of.

Pure. A request is a frame of four length bytes, header and body; a response is read without its length bytes.
"""

import struct
from dataclasses import dataclass

_API_VERSIONS, _METADATA = 18, 3
_SUPPORTED_UP_TO = 1 << 20  # bytes of a response we are ready to read
_FINALIZED = 2  # the tag of FinalizedFeatures in ApiVersions

# First and last level of each release (enum MetadataVersion of Kafka's source).
_RELEASES = {
    "3.3": (4, 7),
    "3.4": (8, 8),
    "3.5": (9, 11),
    "3.6": (12, 14),
    "3.7": (15, 19),
    "3.8": (20, 20),
    "3.9": (21, 21),
    "4.0": (22, 25),
    "4.1": (26, 27),
    "4.2": (28, 29),
}


def release(level: int | None) -> str:
    """The release a finalized `metadata.version` belongs to: "4.1 (metadata.version 27)".

    A cluster that was upgraded and not finalized says its old level: the release is a lower bound.
    """
    if level is None:
        return "unknown (no finalized metadata.version: older than 3.3, or ZooKeeper)"
    known = [name for name, (first, last) in _RELEASES.items() if first <= level <= last]
    return f"{known[0] if known else 'unknown'} (metadata.version {level})"


def api_versions_request() -> bytes:
    """ApiVersions v3: which features has this cluster?"""
    software = _compact("msgbus-tests") + _compact("1") + b"\0"  # the last byte: no tagged fields
    return request(_API_VERSIONS, 3, b"\0" + software)


def metadata_request() -> bytes:
    """Metadata v1 about no topic: which brokers are alive (registered and not fenced)?"""
    return request(_METADATA, 1, struct.pack(">i", 0))


def response_size(prefix: bytes) -> int:
    """The length that the four bytes in front of a response announce. ValueError: nothing Kafka would send."""
    size = int.from_bytes(prefix, "big")
    if len(prefix) != 4 or not 4 <= size <= _SUPPORTED_UP_TO:
        raise ValueError(f"this is not Kafka: a response of {size} bytes announced")
    return size


def alive_brokers(response: bytes) -> set[int]:
    """The ids of the brokers that a Metadata v1 response names."""
    reader = Reader(response, 4)
    return {reader.broker() for _ in range(reader.number(">i"))}


def metadata_level(response: bytes) -> int | None:
    """The finalized level of `metadata.version` in an ApiVersions v3 response; None if there is none.

    ValueError: the server answered with an error code.
    """
    reader = Reader(response, 4)  # after the correlation id
    if error := reader.number(">h"):
        raise ValueError(f"ApiVersions v3 was answered with error code {error}")
    for _ in range(reader.varint() - 1):
        reader.skip(6)  # api key, lowest and highest version
        reader.skip_tags()
    reader.skip(4)  # throttle time
    return reader.tags().get(_FINALIZED, Reader(b"\1")).finalized().get("metadata.version")


def request(key: int, version: int, rest: bytes) -> bytes:
    """A frame: `rest` is what follows the header without a client's name."""
    body = struct.pack(">hhih", key, version, 1, -1) + rest  # correlation id 1, no client id
    return struct.pack(">i", len(body)) + body


def _compact(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


@dataclass
class Reader:
    """A place in a response."""

    data: bytes
    at: int = 0

    def skip(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise ValueError("a response that ends too early")
        self.at += count
        return piece

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.skip(struct.calcsize(form)))[0])

    def broker(self) -> int:
        """The id of a broker in Metadata v1, whose host, port and rack are skipped."""
        found = self.number(">i")
        self.skip(self.number(">h") + 4)
        self.skip(max(self.number(">h"), 0))
        return found

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.skip(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # the bit that says: more follows
                return value

    def tags(self) -> dict[int, "Reader"]:
        found = {}
        for _ in range(self.varint()):
            tag = self.varint()
            found[tag] = Reader(self.skip(self.varint()))
        return found

    def skip_tags(self) -> None:
        self.tags()

    def finalized(self) -> dict[str, int]:
        levels = {}
        for _ in range(self.varint() - 1):
            name = self.skip(self.varint() - 1).decode()
            levels[name] = self.number(">h")  # the highest level; the lowest follows
            self.skip(2)
            self.skip_tags()
        return levels
