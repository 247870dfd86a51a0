"""The pure parts of the test servers."""

import json
import os
import signal
import struct
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.servers import (
    ServerNotReady,
    ServerUnavailable,
    choose,
    fixtures,
    kafka_wire,
    process,
    standing,
    start,
)
from tests.support.servers.kafka_native import POM
from tests.support.servers.ports import free_ports
from tests.support.servers.redis_native import RedisRecipe
from tests.support.servers.redis_wire import command
from tests.support.servers.sets import KAFKA
from tests.support.servers.url import parse


@pytest.mark.parametrize(
    ("level", "release"),
    [
        (4, "3.3 (metadata.version 4)"),
        (7, "3.3 (metadata.version 7)"),
        (8, "3.4 (metadata.version 8)"),
        (14, "3.6 (metadata.version 14)"),
        (19, "3.7 (metadata.version 19)"),
        (21, "3.9 (metadata.version 21)"),
        (25, "4.0 (metadata.version 25)"),
        (27, "4.1 (metadata.version 27)"),
        (29, "4.2 (metadata.version 29)"),
        (99, "unknown (metadata.version 99)"),
    ],
)
def test_a_metadata_level_names_its_kafka_release(level: int, release: str) -> None:
    assert kafka_wire.release(level) == release


def test_a_cluster_without_a_finalized_level_is_said_to_be_unknown() -> None:
    assert kafka_wire.release(None).startswith("unknown")


def api_versions_response(error: int = 0, features: bytes = b"") -> bytes:
    one_api = b"\x02" + struct.pack(">hhh", 18, 0, 4) + b"\0"
    tags = b"\x02\x01\x08" + struct.pack(">q", 5) + b"\x02" + bytes([len(features)]) + features if features else b"\0"
    return struct.pack(">ih", 1, error) + one_api + struct.pack(">i", 0) + tags


def feature(name: str, level: int) -> bytes:
    return bytes([len(name) + 1]) + name.encode() + struct.pack(">hh", level, level) + b"\0"


def test_the_level_is_found_among_the_finalized_features() -> None:
    features = b"\x03" + feature("group.version", 1) + feature("metadata.version", 27)
    assert kafka_wire.metadata_level(api_versions_response(features=features)) == 27


def test_no_finalized_features_is_no_level() -> None:
    assert kafka_wire.metadata_level(api_versions_response()) is None


def test_an_error_code_and_a_torn_response_are_value_errors() -> None:
    with pytest.raises(ValueError, match="error code 35"):
        kafka_wire.metadata_level(api_versions_response(error=35))
    with pytest.raises(ValueError, match="ends too early"):
        kafka_wire.metadata_level(api_versions_response()[:-3])


@pytest.mark.parametrize("prefix", [b"HTTP", b"\0\0\0\x01", b"\0\0", b""])
def test_what_is_not_kafka_is_not_read(prefix: bytes) -> None:
    with pytest.raises(ValueError, match="not Kafka"):
        kafka_wire.response_size(prefix)


def test_a_metadata_response_names_its_brokers() -> None:
    brokers = [struct.pack(">ih4sih", node, 4, b"host", 9092, -1) for node in (1, 7)]
    assert kafka_wire.alive_brokers(struct.pack(">ii", 1, 2) + b"".join(brokers)) == {1, 7}


@pytest.mark.parametrize("name", ["redis", "rabbitmq", "kafka"])
def test_the_environment_comes_first_and_its_server_is_not_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MSGBUS_TEST_{name.upper()}_URL", "x://somewhere")
    server = start(name)
    server.stop()
    assert (server.name, server.url, server.origin, server.pid) == (name, "x://somewhere", "environment", None)


def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSGBUS_TEST_REDIS_URL", raising=False)
    monkeypatch.setattr(choose, "engine", lambda: "")
    monkeypatch.setenv("PATH", "")


def test_without_any_server_the_error_says_what_was_tried_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_works(monkeypatch)
    with pytest.raises(ServerUnavailable) as caught:
        start("redis")
    assert caught.value.reason == (
        "MSGBUS_TEST_REDIS_URL is not set; no Docker engine answers; redis-server is not installed"
    )
    assert str(caught.value).endswith(f"Way out: {caught.value.way_out}")


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_server_skips_and_under_ci_it_fails(
    ci: str, outcome: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_works(monkeypatch)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="redis-server is not installed"):
        next(fixtures.serving("redis"))


def test_an_unknown_broker_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="redis, rabbitmq, kafka"):
        start("nats")


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log() -> None:
    assert str(ServerNotReady("kafka", "ended while starting", "no space")).endswith("its log:\nno space")


def test_of_several_hosts_the_first_is_asked() -> None:
    target = parse("kafka://one,two:9093?group=g")
    assert (target.broker, target.host, target.port, target.tls) == ("kafka", "one", 9092, None)


def test_login_is_decoded_and_tls_needs_its_scheme() -> None:
    target = parse("amqps://a%40b:p%2Fw@[::1]:5/shop?insecure=1")
    assert (target.broker, target.host, target.port) == ("rabbitmq", "::1", 5)
    assert (target.user, target.password) == ("a@b", "p/w")
    assert target.tls is not None


def test_a_foreign_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="memory"):
        parse("memory://")


def test_a_redis_command_counts_bytes_not_characters() -> None:
    assert command("AUTH", "é b") == b"*2\r\n$4\r\nAUTH\r\n$4\r\n\xc3\xa9 b\r\n"


def test_the_docs_name_the_rights_that_the_secured_tests_run_with() -> None:
    page = (ROOT / "docs" / "how-to" / "secure-the-connection.md").read_text()
    block = page.split("ACL file:\n\n```\n")[1].split("```")[0]
    assert block.split() == list(RedisRecipe.LEAST)


def test_free_ports_are_different_and_below_the_outgoing_range() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert max(ports) < 32_768


def test_a_process_is_known_by_its_birth_and_a_signal_spares_its_successor() -> None:
    assert process.birth(os.getpid())
    process.send({os.getpid(): "another birth"}, signal.SIGKILL)


def test_what_is_remembered_does_not_run_when_its_pid_was_given_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    row = {"name": "redis", "url": "redis://x", "pids": {os.getpid(): "another birth"}, "folder": "", "container": ""}
    (tmp_path / "msgbus").mkdir()
    standing._path(ROOT).write_text(json.dumps([row]))
    assert standing.running() == {}
    assert [server.name for server in standing.down()] == ["redis"]


def test_down_stops_nothing_of_another_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "msgbus").mkdir()
    mine, link, other = tmp_path / "a" / "msgbus", tmp_path / "link", tmp_path / "b" / "msgbus"
    for checkout in (mine, other):
        checkout.mkdir(parents=True)
    link.symlink_to(mine)
    assert standing._path(link) == standing._path(mine)
    rows = [{"name": "redis", "url": "redis://h", "pids": {}, "folder": str(other), "container": ""}]
    standing._path(other).write_text(json.dumps(rows))
    assert standing.down() == []
    assert other.exists()


def test_the_pom_names_the_version_of_the_jars_folder() -> None:
    assert f"<kafka.version>{KAFKA['']}</kafka.version>" in POM.read_text()
    assert "<repositor" not in POM.read_text()
