"""Rights of Kafka's users, told to a broker in its own protocol: CreateAcls v1 and DeleteAcls v1.

A right is a text of three words, "read topic contract-*": an operation, a kind of resource and its name; a star at the
end stands for every name that begins so.
"""

import socket
import struct
from collections.abc import Sequence

from . import kafka_wire

_CREATE, _DELETE = 30, 31
_OPERATIONS = {  # org.apache.kafka.common.acl.AclOperation
    "any": 1,
    "all": 2,
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "describe-configs": 10,
    "idempotent-write": 12,
}
_KINDS = {"any": 1, "topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}  # ...common.resource.ResourceType
_ANY, _LITERAL, _PREFIXED = 1, 3, 4
_DENY, _ALLOW = 2, 3
_PATIENCE = 10.0  # seconds; seen: 0.05


def create(address: tuple[str, int], user: str, rights: Sequence[str], *, deny: bool = False) -> None:
    """Allow `user` these, or deny them, which wins. ValueError: the broker refused one of them."""
    permission = _DENY if deny else _ALLOW
    creations = [_creation(user, permission, *right.split(" ", 2)) for right in rights]
    answer = _ask(address, _CREATE, struct.pack(">i", len(creations)) + b"".join(creations))
    answer.skip(4)  # throttle time
    for right in rights[: answer.number(">i")]:
        _check(answer, right)


def delete(address: tuple[str, int], user: str, *, denied: bool = False) -> None:
    """Forget all that `user` may, or only what it was denied. ValueError: the broker refused."""
    permission = _DENY if denied else _ANY
    which = struct.pack(">bhb", _ANY, -1, _ANY) + _text(f"User:{user}") + struct.pack(">hbb", -1, _ANY, permission)
    answer = _ask(address, _DELETE, struct.pack(">i", 1) + which)
    answer.skip(8)  # throttle time, and the number of filters: ours
    _check(answer, f"deleting the rights of {user}")


def _creation(user: str, permission: int, operation: str, kind: str, name: str) -> bytes:
    prefixed = name.endswith("*") and name != "*"
    pattern = _PREFIXED if prefixed else _LITERAL
    resource = struct.pack(">b", _KINDS[kind]) + _text(name.rstrip("*") if prefixed else name)
    return (
        resource
        + struct.pack(">b", pattern)
        + _text(f"User:{user}")
        + _text("*")  # from any host
        + struct.pack(">bb", _OPERATIONS[operation], permission)
    )


def _ask(address: tuple[str, int], key: int, body: bytes) -> kafka_wire.Reader:
    with socket.create_connection(address, timeout=_PATIENCE) as connection, connection.makefile("rb") as answers:
        connection.sendall(kafka_wire.request(key, 1, body))
        return kafka_wire.Reader(answers.read(kafka_wire.response_size(answers.read(4))), 4)


def _check(answer: kafka_wire.Reader, doing: str) -> None:
    error, length = answer.number(">h"), answer.number(">h")
    message = answer.skip(max(length, 0)).decode()
    if error:
        raise ValueError(f"kafka: {doing}: error code {error} {message}")


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()
