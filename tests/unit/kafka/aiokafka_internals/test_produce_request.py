"""Produce requests and responses as bytes: the same as those of aiokafka."""

from __future__ import annotations

from io import BytesIO

from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7

from msgbus_kafka.aiokafka_internals.produce_request import (
    FastProduceRequest,
    FastProduceResponse,
    ProduceRequestBuilder,
)

TOPICS = [("orders", [(0, b"batch"), (7, b"another")]), ("übung", [(2, b"")])]
KAFKA_2_1 = {ProduceRequest.API_KEY: (0, 7)}


def test_a_request_is_packed_as_aiokafka_writes_it() -> None:
    packed = ProduceRequestBuilder(None, -1, 15_000, TOPICS).prepare(KAFKA_2_1)
    assert type(packed) is FastProduceRequest
    assert packed.encode() == ProduceRequest_v7(None, -1, 15_000, TOPICS).encode()
    header = packed.build_request_header(17, "msgbus").encode()
    assert header == ProduceRequest_v7(None, -1, 15_000, TOPICS).build_request_header(17, "msgbus").encode()


def test_an_older_server_is_sent_aiokafkas_own_request() -> None:
    assert ProduceRequestBuilder(None, -1, 15_000, TOPICS).prepare({ProduceRequest.API_KEY: (0, 6)}).API_VERSION == 6


def test_an_answer_is_read_as_aiokafka_reads_it() -> None:
    topics = [("orders", [(0, 0, 17, -1, 5), (7, 6, -1, 1_700_000_000_000, 0)]), ("übung", [(2, 47, 2**40, -1, -1)])]
    wire = ProduceResponse_v7(topics, 30).encode()
    for data in (wire, BytesIO(wire)):
        answer = FastProduceResponse.decode(data)
        assert answer == ProduceResponse_v7.decode(wire)
        assert answer.API_VERSION == 7


def test_an_answer_is_read_from_where_its_header_ends() -> None:
    data = BytesIO(b"head" + ProduceResponse_v7([], 0).encode())
    data.seek(4)
    assert FastProduceResponse.decode(data).topics == []
