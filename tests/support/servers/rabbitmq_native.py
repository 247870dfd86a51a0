"""RabbitMQ as a plain process: a node of its own with its own epmd, and nothing outside its folder touched."""

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from . import probes, sets
from .ports import LOOPBACK, free_ports
from .probes import Probe
from .recipe import Command, Recipe, Wish
from .security import Security

VHOST = "shop/eu"
"""Of a secured server, where all three users may connect."""
_CTL_TIME = 180.0  # seconds; seen: 2, and more than 60 of a loaded cluster on processors that ten others wanted

# The script itself: Debian's wrapper on the PATH changes to the user rabbitmq and keeps to that user's folders.
_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitmqRecipe(Recipe):
    """One node and its epmd; answers after some 4 s."""

    name = "rabbitmq"
    schemes = ("rabbitmq", "rabbitmqs")
    nodes = 3
    ahead = 1  # it is the cluster that the others find and join
    way_out = "apt-get install rabbitmq-server (or: make brokers), or set MSGBUS_TEST_RABBITMQ_URL"
    patience = 60.0
    LEAST = (r"^contract-", r"^(contract-|amq\.default$)", r"^contract-")

    def __init__(self, folder: Path, wish: Wish) -> None:
        super().__init__(folder, wish)
        self.port, self.clear_port, self._epmd, self._distribution = free_ports(4)
        self._cookie = secrets.token_hex(16)

    @classmethod
    def missing(cls) -> str:
        if "rabbitmq" not in sets.PROGRAMS[sets.chosen()]:
            return f"RabbitMQ is not in the set {sets.chosen()}"
        if root := sets.root():
            return root.lacks("rabbitmq-server")
        if not cls._script():
            return "rabbitmq-server is not installed"
        return "" if shutil.which("epmd") else "epmd (a part of Erlang) is not on the PATH"

    def login(self) -> str:
        return f"guest:{quote(self.wish.password or 'guest', safe='')}@"

    @property
    def path(self) -> str:
        return f"/{quote(VHOST, safe='')}" if self.security else ""

    def prepare(self) -> None:
        for folder in ("home", "data", "log", "generated"):
            (self.folder / folder).mkdir()
        self._write_cookie()
        self._write("env.conf", "")
        self._write("enabled_plugins", "[].")
        settings = {
            **self._configuration(),
            **(self._tls(self.security) if self.security else {}),
            **self.wish.settings,
        }
        self._write("rabbitmq.conf", "".join(f"{key} = {value}\n" for key, value in settings.items()))
        if self.security:
            self._write("definitions.json", json.dumps(_definitions(self.security, self.LEAST)))

    def probe(self) -> Probe:
        return probes.rabbitmq((LOOPBACK, self.port), self.security.context() if self.security else None)

    def helpers(self) -> Sequence[Command]:
        # Ours, because one that the node started by itself would be shared and outlive every node.
        return [self.here("epmd", "-address", LOOPBACK, "-port", str(self._epmd))] if self._first is self else []

    def command(self) -> Command:
        return self.here(self._script(), env=self._environment())

    def allow(self, user: str, *rights: str) -> None:
        """`rights`: three patterns, what it may configure, write and read; they replace those it has."""
        self.ctl("set_permissions", "--vhost", VHOST, user, *rights)

    def forbid(self, user: str) -> None:
        self.ctl("set_permissions", "--vhost", VHOST, user, "^$", "^$", "^$")

    def ctl(self, *words: str) -> str:
        """What `rabbitmqctl` says to these words. ValueError: it refused."""
        script = self._script().removesuffix("rabbitmq-server") + "rabbitmqctl"
        command = self.here(script, "--quiet", *words, env={**os.environ, **self._environment()})
        done = subprocess.run(  # noqa: S603 - the words are ours
            command.argv, env=command.env, capture_output=True, text=True, timeout=_CTL_TIME, check=False
        )
        if done.returncode:
            raise ValueError(f"rabbitmqctl {words[0]}: {(done.stdout + done.stderr).strip()[-500:]}")
        return done.stdout

    @staticmethod
    def _script() -> str:
        return str(_SCRIPT) if sets.root() or _SCRIPT.exists() else shutil.which("rabbitmq-server") or ""

    @property
    def _all(self) -> Sequence["RabbitmqRecipe"]:
        """The nodes of its cluster, or itself alone."""
        return [one for one in self.peers if isinstance(one, RabbitmqRecipe)] or [self]

    @property
    def _first(self) -> "RabbitmqRecipe":
        return self._all[0]

    @property
    def _node(self) -> str:
        return f"n{self.port}@localhost"

    def _write_cookie(self) -> None:
        cookie = self.folder / "home" / ".erlang.cookie"
        cookie.touch(mode=0o600)
        cookie.write_text(self._first._cookie, encoding="ascii")
        cookie.chmod(0o400)  # Erlang refuses anything wider

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _configuration(self) -> dict[str, str]:
        return {
            "listeners.tcp.1": f"{LOOPBACK}:{self.clear_port if self.security else self.port}",
            "default_pass": self.wish.password or "guest",
            "vm_memory_high_watermark.absolute": "512MB",
            "disk_free_limit.absolute": "50MB",
            **(self._discovery() if self.peers else {}),
        }

    def _discovery(self) -> dict[str, str]:
        """How the nodes of a cluster find each other, and that they miss a frozen one after 5 s, not 60."""
        formation = "cluster_formation"
        listed = {f"{formation}.classic_config.nodes.{at}": one._node for at, one in enumerate(self._all, 1)}
        found = {f"{formation}.peer_discovery_backend": "classic_config", **listed} if self._first is not self else {}
        return {"net_ticktime": "5", **found}

    def _tls(self, security: Security) -> dict[str, str]:
        return {
            "listeners.ssl.1": f"{LOOPBACK}:{self.port}",
            "ssl_options.cacertfile": str(security.ca),
            "ssl_options.certfile": str(security.certificate),
            "ssl_options.keyfile": str(security.key),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
            "load_definitions": str(self.folder / "definitions.json"),
        }

    def _environment(self) -> dict[str, str]:
        at = self.folder
        return {
            "HOME": str(at / "home"),
            "LC_ALL": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell in between: the script becomes the Erlang machine
            "ERL_EPMD_PORT": str(self._first._epmd),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONF_ENV_FILE": str(at / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(at / "data"),
            "RABBITMQ_MNESIA_DIR": str(at / "data" / "mnesia"),
            "RABBITMQ_PID_FILE": str(at / "pid"),
            "RABBITMQ_LOG_BASE": str(at / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_GENERATED_CONFIG_DIR": str(at / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(at / "generated"),
            # One scheduler that does not spin: tests share the processor with the server.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
        }


def _definitions(security: Security, least: Sequence[str]) -> dict[str, object]:
    """Users, the vhost and who may do what there, for a node that boots for the first time."""
    rights = {"admin": (".*", ".*", ".*"), "app": least, "nobody": ("^$", "^$", "^$")}
    return {
        "users": [_user(name, password) for name, password in security.passwords.items()],
        "vhosts": [{"name": VHOST}],
        "permissions": [
            {"user": user, "vhost": VHOST, "configure": configure, "write": write, "read": read}
            for user, (configure, write, read) in rights.items()
        ],
    }


def _user(name: str, password: str) -> dict[str, object]:
    salt = secrets.token_bytes(4)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    tags = ["administrator"] if name == "admin" else []
    return {"name": name, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": tags}
