"""RabbitMQ as a plain process: a node of its own with its own epmd, and nothing outside its folder touched."""

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from .ports import LOOPBACK, free_ports
from .recipe import Command, Recipe

# The script itself: Debian's wrapper on the PATH changes to the user rabbitmq and keeps to that user's folders.
_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitmqRecipe(Recipe):
    """One node and its epmd; answers after some 4 s."""

    name = "rabbitmq"
    way_out = "apt-get install rabbitmq-server (or: make brokers), or set MSGBUS_TEST_RABBITMQ_URL"
    patience = 60.0

    @classmethod
    def missing(cls) -> str:
        if not cls._script():
            return "rabbitmq-server is not installed"
        return "" if shutil.which("epmd") else "epmd (a part of Erlang) is not on the PATH"

    @property
    def url(self) -> str:
        return f"rabbitmq://guest:{quote(self.password or 'guest', safe='')}@{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        self.port, self._epmd, self._distribution = free_ports(3)
        for folder in ("home", "data", "log", "generated"):
            (self.folder / folder).mkdir()
        self._cookie()
        self._write("env.conf", "")
        self._write("enabled_plugins", "[].")
        self._write("rabbitmq.conf", "".join(f"{key} = {value}\n" for key, value in self._configuration().items()))

    def helpers(self) -> Sequence[Command]:
        # Ours, because one that the node started by itself would be shared and outlive every node.
        return [Command(["epmd", "-address", LOOPBACK, "-port", str(self._epmd)])]

    def command(self) -> Command:
        return Command([self._script()], self._environment())

    @staticmethod
    def _script() -> str:
        return str(_SCRIPT) if _SCRIPT.exists() else shutil.which("rabbitmq-server") or ""

    def _cookie(self) -> None:
        cookie = self.folder / "home" / ".erlang.cookie"
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(16), encoding="ascii")
        cookie.chmod(0o400)  # Erlang refuses anything wider

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _configuration(self) -> dict[str, str]:
        return {
            "listeners.tcp.1": f"{LOOPBACK}:{self.port}",
            "default_pass": self.password or "guest",
            "vm_memory_high_watermark.absolute": "512MB",
            "disk_free_limit.absolute": "50MB",
            **self.settings,
        }

    def _environment(self) -> dict[str, str]:
        at = self.folder
        return {
            "HOME": str(at / "home"),
            "LC_ALL": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell in between: the script becomes the Erlang machine
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": f"n{self.port}@localhost",
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
