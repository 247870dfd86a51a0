"""Installation of all patches on one client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from msgbus_kafka.aiokafka_internals import install
from msgbus_kafka.aiokafka_internals.install import install_patches


def test_every_patch_is_installed_and_a_lost_connection_is_aborted_before_aiokafka_hears_of_it(
    monkeypatch: Any,
) -> None:
    did: list[Any] = []
    client = SimpleNamespace(_on_connection_closed=lambda *told: did.append(("closed", *told)))
    monkeypatch.setattr(install, "install_rediscovery", lambda *told: did.append(("rediscovery", *told)))
    monkeypatch.setattr(install, "install_throttle", lambda *told: did.append(("throttle", *told)))
    monkeypatch.setattr(install, "abort_connection", lambda connection: did.append(("aborted", connection)))
    install_patches(client, "h:9092", fetch := object())  # type: ignore[arg-type]
    assert did == [("rediscovery", client, "h:9092", fetch), ("throttle", client)]
    client._on_connection_closed("connection", "reason")
    assert did[2:] == [("aborted", "connection"), ("closed", "connection", "reason")]
