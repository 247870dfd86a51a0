"""Which version is this server? Asked of the server itself, over a connection of its own."""

import asyncio
import ssl
from contextlib import suppress

from . import kafka_wire, redis_wire
from .url import Target, parse

_PATIENCE = 5.0  # seconds for the whole question


async def server_version(url: str) -> str:
    """The version of the server behind a msgbus URL: "7.0.15", "3.10.8", "4.1 (metadata.version 27)".

    Kafka tells its version to nobody; the feature level its cluster has finalized says which release it follows.
    ValueError: not such a URL, or not the answer of such a server. TimeoutError: none within 5 s. OSError: nobody.
    """
    target = parse(url)
    ask = {"redis": _redis, "rabbitmq": _rabbitmq, "kafka": _kafka}[target.broker]
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls)
        try:
            return await ask(target, reader, writer)
        except asyncio.IncompleteReadError as error:
            raise ValueError(f"{target.broker} at {target.host}:{target.port} hung up without an answer") from error
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


async def _redis(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """INFO server, after AUTH where the URL has a password."""
    if target.password:
        await _redis_call(reader, writer, "AUTH", target.user or "default", target.password)
    size = int(await _redis_call(reader, writer, "INFO", "server"))
    lines = (await reader.readexactly(size)).decode().splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    # Valkey calls itself a Redis of the version that it began from, for the sake of clients that look.
    return f"Valkey {told['valkey_version']}" if "valkey_version" in told else told["redis_version"]


async def _redis_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *words: str) -> str:
    """Send a command and read the first line of its answer, without the mark of its kind."""
    writer.write(redis_wire.command(*words))
    line = (await reader.readline()).decode().strip()
    if not line or line.startswith("-"):
        raise ValueError(f"redis refused {words[0]}: {line[1:] or 'it hung up'}")
    return line[1:]


async def _rabbitmq(_target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Connection.Start, which the server sends before it wants to know who we are."""
    from pamqp import commands, frame

    writer.write(b"AMQP\x00\x00\x09\x01")
    head = await reader.readexactly(7)  # kind, channel, length of the payload
    data = head + await reader.readexactly(int.from_bytes(head[3:], "big") + 1)  # and the end mark
    _, _, start = frame.unmarshal(data)
    if not isinstance(start, commands.Connection.Start):
        raise ValueError(f"rabbitmq began with {start!r} instead of Connection.Start")  # noqa: TRY004 - wrong answer, not type
    return _text((start.server_properties or {}).get("version"))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


async def _kafka(_target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """ApiVersions, which a server answers before it wants to know who we are."""
    writer.write(kafka_wire.api_versions_request())
    size = kafka_wire.response_size(await reader.readexactly(4))
    return kafka_wire.release(kafka_wire.metadata_level(await reader.readexactly(size)))
