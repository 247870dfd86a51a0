"""Kafka records as third-party clients write them: raw batches, transactions, deleted records and denied access."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.protocol.admin import DeleteRecordsRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.support.servers import kafka_acls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from msgbus.adapter.address import Address
    from msgbus_kafka import KafkaAdapter

__all__ = ["LATIN", "NONE", "ZSTD", "batch", "delete_before", "put", "read_refused", "transactional"]

NONE, ZSTD = 0, 4
LATIN = b"gr\xfcn"
"""The name of a header as another program may write it."""
_PLACEHOLDER = "gr-n"

Header = tuple[str, bytes | None]


def batch(
    values: Sequence[bytes | None],
    headers: Sequence[Header] = (),
    *,
    codec: int = NONE,
    latin: bool = False,
    key: bytes | None = None,
) -> bytes:
    """A batch as it is sent: one record for each value, `latin` with a header whose name is no UTF-8."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    named = [*headers, (_PLACEHOLDER, b"1")] if latin else list(headers)
    for offset, value in enumerate(values):
        builder.append(offset, 1_700_000_000_000, key, value, named)
    built = bytes(builder.build())
    return _checksummed(built.replace(_PLACEHOLDER.encode(), LATIN)) if latin else built


def _checksummed(raw: bytes) -> bytes:
    from aiokafka.record.util import calc_crc32c

    checksum: int = calc_crc32c(raw[21:])
    return raw[:17] + checksum.to_bytes(4, "big") + raw[21:]


async def put(adapter: KafkaAdapter, address: Address, raw: bytes, partition: int = 0) -> int:
    """Append a batch; its first offset. Try again for ten seconds while a new partition has no leader yet."""
    deadline = time.monotonic() + 10
    while True:
        answer = await adapter._cluster.send(ProduceRequest(None, -1, 10_000, [(str(address), [(partition, raw)])]))
        ((_, ((_, code, offset, *_),)),) = answer.topics
        if code != NotLeaderForPartitionError.errno or time.monotonic() > deadline:
            assert code == 0, f"the broker refused the batch: {code}"
            return int(offset)
        await asyncio.sleep(0.05)  # a broker does not announce it


async def delete_before(adapter: KafkaAdapter, address: Address, offset: int, partition: int = 0) -> None:
    """As retention does."""
    answer = await adapter._cluster.send(DeleteRecordsRequest([(str(address), [(partition, offset)])], 5000))
    assert answer.topics[0][1][0][2] == 0


@asynccontextmanager
async def transactional(url: str, id: str) -> AsyncIterator[Any]:
    """A producer of transactions."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=url.removeprefix("kafka://"), transactional_id=id)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@contextmanager
def read_refused(url: str, address: Address) -> Iterator[None]:
    """Everybody may do anything with the topic but read it."""
    host, port = url.removeprefix("kafka://").split(":")
    place = (host, int(port))
    others = [f"{right} topic {address}" for right in ("describe", "write", "delete", "describe-configs")]
    kafka_acls.create(place, "ANONYMOUS", others)
    try:
        yield
    finally:
        kafka_acls.delete(place, "ANONYMOUS")
