"""Redis as a plain process, with what promise 1 rests on: an append-only file and no eviction."""

import shutil
from urllib.parse import quote

from .ports import LOOPBACK, free_ports
from .recipe import Command, Recipe


class RedisRecipe(Recipe):
    """One redis-server; answers after some 20 ms."""

    name = "redis"
    way_out = "apt-get install redis-server (or: make brokers), or set MSGBUS_TEST_REDIS_URL"
    patience = 15.0

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("redis-server") else "redis-server is not installed"

    @property
    def url(self) -> str:
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        (self.port,) = free_ports(1)

    def command(self) -> Command:
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "requirepass": self.password,
            **self.settings,
        }
        arguments = [word for key, value in settings.items() for word in (f"--{key}", value)]
        return Command(["redis-server", *arguments])
