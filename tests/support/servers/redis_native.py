"""Redis as a plain process, with what promise 1 rests on: an append-only file and no eviction."""

import shutil
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from . import probes, redis_wire, sets
from .errors import ServerNotReady
from .ports import LOOPBACK, free_ports
from .probes import Probe
from .recipe import Command, Recipe, Wish
from .security import ADMIN, APP, Security
from .waiting import until

SERVICE = "main"
"""What the sentinels of a cluster call it."""
_DATA = 2  # nodes of a cluster that hold data: the primary and its replica
_PATIENCE = 5.0  # seconds for the answer to one command


class RedisRecipe(Recipe):
    """One redis-server; answers after some 20 ms. In a cluster: a primary, its replica, and sentinels."""

    name = "redis"
    schemes = ("redis", "rediss")
    nodes = 5
    ahead = 2  # sentinels look for replicas when they start, and then every 10 s
    way_out = "apt-get install redis-server (or: make brokers), or set MSGBUS_TEST_REDIS_URL"
    patience = 15.0
    LEAST = (
        "~msgbus:*",
        *("+ping", "+info", "+client|id", "+client|unblock"),
        *("+eval", "+time", "+type", "+exists", "+get", "+set", "+del", "+hget", "+hset", "+expire", "+pexpire"),
        *("+xadd", "+xlen", "+xrange", "+xrevrange", "+xread", "+xdel", "+xtrim"),
        *(
            "+xgroup|create",
            "+xgroup|destroy",
            "+xgroup|delconsumer",
            "+xinfo|stream",
            "+xinfo|groups",
            "+xinfo|consumers",
        ),
        *("+xreadgroup", "+xack", "+xpending", "+xclaim", "+xautoclaim"),
    )

    SENTINELS_LEAST = ("+sentinel|get-master-addr-by-name",)

    def __init__(self, folder: Path, wish: Wish) -> None:
        super().__init__(folder, wish)
        self.port, self.clear_port = free_ports(2)

    @classmethod
    def missing(cls) -> str:
        program = sets.PROGRAMS[sets.chosen()]["redis"]
        if root := sets.root():
            return root.lacks(program)
        return "" if shutil.which(program) else f"{program} is not installed"

    def login(self) -> str:
        return f":{quote(self.wish.password, safe='')}@" if self.wish.password else ""

    @property
    def path(self) -> str:
        return "/0"

    def prepare(self) -> None:
        if self.security:
            least = self.SENTINELS_LEAST if self.is_sentinel else self.LEAST
            self._users.write_text(_users(self.security, least), encoding="utf-8")
        settings = {
            **self._configuration(),
            **(self._tls(self.security) if self.security else {}),
            **self._part(),
            **self.wish.settings,
        }
        # A file and no arguments: sentinels change it, so that a server that comes back knows its part.
        lines = "".join(f"{key} {value or _EMPTY}\n" for key, value in settings.items())
        self._file.write_text(lines, encoding="utf-8")

    def probe(self) -> Probe:
        if self.is_sentinel:
            return probes.sentinel((LOOPBACK, self.port), len(self.peers) - _DATA, *self._access())
        return probes.redis((LOOPBACK, self.port), *self._access())

    def _access(self) -> tuple[Sequence[str], ssl.SSLContext | None]:
        if self.security:
            return [ADMIN, self.security.passwords[ADMIN]], self.security.context()
        return [self.wish.password] if self.wish.password else [], None

    def started(self) -> None:
        linked = probes.replica((LOOPBACK, self.port), *self._access())
        if self in self.peers[1:_DATA] and not until(linked, self.patience):
            raise ServerNotReady(self.name, "did not become a replica", self.log.read_text(encoding="utf-8"))

    def command(self) -> Command:
        program = sets.PROGRAMS[sets.chosen()]["redis"]
        return self.here(program, str(self._file), *(["--sentinel"] if self.is_sentinel else []))

    def cluster_url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{peer.port}" for peer in self.peers[_DATA:])
        if self.security is None:
            return f"redis+sentinel://{hosts}{self.path}?service={SERVICE}"
        asked = {"service": SERVICE, "sentinel_user": APP, "sentinel_password": self.security.passwords[APP]}
        query = self.security.query(asked, tls=True)
        return f"rediss+sentinel://{self.security.login(ADMIN)}@{hosts}{self.path}{query}"

    @property
    def is_sentinel(self) -> bool:
        """It watches over the others and holds no data."""
        return self in self.peers[_DATA:]

    def allow(self, user: str, *rights: str) -> None:
        """`rights`: ACL rules, such as "+xadd" and "~msgbus:*"."""
        self.ask("ACL", "SETUSER", user, *rights)

    def forbid(self, user: str) -> None:
        self.ask("ACL", "SETUSER", user, "-@all", "resetkeys", "resetchannels")

    def ask(self, *words: str) -> str:
        """The first line of the answer to a command of the administrator's. ValueError: the server refused it."""
        with (
            socket.create_connection((LOOPBACK, self.port), timeout=_PATIENCE) as plain,
            self._secured().context().wrap_socket(plain, server_hostname=LOOPBACK) as connection,
            connection.makefile("rb") as answers,
        ):
            login = redis_wire.command("AUTH", ADMIN, self._secured().passwords[ADMIN])
            connection.sendall(login + redis_wire.command(*words))
            _, answer = answers.readline(), answers.readline().decode().strip()
        if answer.startswith("-"):
            raise ValueError(f"redis refused {words[0]}: {answer}")
        return answer

    @property
    def _file(self) -> Path:
        return self.folder / "redis.conf"

    @property
    def _users(self) -> Path:
        return self.folder / "users.acl"

    def _configuration(self) -> dict[str, str]:
        place = {
            "bind": LOOPBACK,
            "port": str(self.clear_port if self.security else self.port),
            "dir": str(self.folder),
        }
        if self.is_sentinel:
            return place
        return {
            **place,
            "save": "",
            "repl-diskless-sync-delay": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **({"requirepass": _quoted(self.wish.password)} if self.wish.password else {}),
        }

    def _part(self) -> dict[str, str]:
        """What its place in a cluster adds."""
        if not self.peers:
            return {}
        password = self.security.passwords[ADMIN] if self.security else ""
        if self.is_sentinel:
            return {
                f"sentinel monitor {SERVICE}": f"{LOOPBACK} {self.peers[0].port} 2",
                f"sentinel down-after-milliseconds {SERVICE}": "1000",
                f"sentinel failover-timeout {SERVICE}": "3000",
                **(_as_admin(f"sentinel auth-user {SERVICE}", f"sentinel auth-pass {SERVICE}", password)),
                **(_as_admin("sentinel sentinel-user", "sentinel sentinel-pass", password)),
            }
        primary = {"replicaof": f"{LOOPBACK} {self.peers[0].port}"} if self in self.peers[1:] else {}
        return {**primary, **_as_admin("masteruser", "masterauth", password)}

    def _tls(self, security: Security) -> dict[str, str]:
        return {
            "tls-port": str(self.port),
            "tls-cert-file": str(security.certificate),
            "tls-key-file": str(security.key),
            "tls-ca-cert-file": str(security.ca),
            "tls-auth-clients": "optional",
            "tls-replication": "yes",
            "aclfile": str(self._users),
        }


_EMPTY = '""'


def _as_admin(user: str, word: str, password: str) -> dict[str, str]:
    """Two settings that say who logs in to another server, where that is asked for."""
    return {user: ADMIN, word: password} if password else {}


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _users(security: Security, least: tuple[str, ...]) -> str:
    rights = {"default": "off", "admin": "on ~* &* +@all", "app": f"on {' '.join(least)}", "nobody": "on"}
    passwords = {user: f" >{password}" for user, password in security.passwords.items()}
    return "".join(f"user {user} {rules}{passwords.get(user, '')}\n" for user, rules in rights.items())
