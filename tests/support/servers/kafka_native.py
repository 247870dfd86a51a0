"""Kafka (KRaft, one node that is broker and controller) as a plain Java process, run from the jars of kafka-pom.xml."""

import base64
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import cache, kafka_acls, kafka_secured, probes, sets
from .errors import ServerNotReady
from .ports import LOOPBACK, free_ports
from .probes import Probe
from .recipe import Command, Recipe, Wish
from .security import APP

POM = Path(__file__).with_name("kafka-pom.xml")
_FORMAT_TIME = 60.0  # seconds; seen: 1.5


def jars() -> Path:
    """Where the jars lie when they are there: the folder appears only when it is complete."""
    return cache.folder() / f"kafka-{sets.KAFKA[sets.chosen()]}"


class KafkaRecipe(Recipe):
    """One node; answers after some 4 s, formatting its folder included."""

    name = "kafka"
    schemes = ("kafka", "kafka+ssl")
    nodes = 3
    way_out = "install Java 17 and Maven, then: make brokers; or set MSGBUS_TEST_KAFKA_URL"
    patience = 60.0
    LEAST = (
        *(f"{operation} topic contract-*" for operation in ("create", "describe-configs", "read", "write")),
        "read group *",
    )

    def __init__(self, folder: Path, wish: Wish) -> None:
        super().__init__(folder, wish)
        self.port, self.clear_port, self._inside, self._controller, *self._proxied = free_ports(6)
        self._cluster = (
            base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")
        )  # never begins with -

    @classmethod
    def missing(cls) -> str:
        if sets.chosen() not in sets.KAFKA:
            return f"Kafka is not in the set {sets.chosen()}"
        if not shutil.which("java"):
            return "java is not installed (17 or newer is needed)"
        return "" if jars().is_dir() else f"the jars of Kafka {sets.KAFKA[sets.chosen()]} are not there"

    def prepare(self) -> None:
        if self.wish.password:
            raise ValueError("this Kafka asks for no password; secured=True gives one that has users")
        secured = kafka_secured.settings(self.security, self._ports()) if self.security else {}
        settings = {**self._configuration(), **secured, **self.wish.settings}
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        self._properties.write_text(lines, encoding="utf-8")
        self._format()

    def command(self) -> Command:
        heap = ["-Xmx384m" if self.peers else "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return Command([*self._java(*heap), "kafka.Kafka", str(self._properties)])

    def probe(self) -> Probe:
        return probes.kafka((LOOPBACK, self._inside if self.security else self.port), self._node)

    def started(self) -> None:
        if self.security:
            self.allow(APP, *self.LEAST)

    def allow(self, user: str, *rights: str) -> None:
        """`rights`: such as "write topic contract-*" (see `kafka_acls`)."""
        self._secured()
        kafka_acls.create((LOOPBACK, self._inside), user, rights)

    def forbid(self, user: str) -> None:
        self._secured()
        kafka_acls.delete((LOOPBACK, self._inside), user)

    def deny(self, user: str, *rights: str) -> None:
        """Whatever else `user` may, not these; without any, what was denied is forgotten."""
        self._secured()
        if rights:
            kafka_acls.create((LOOPBACK, self._inside), user, rights, deny=True)
        else:
            kafka_acls.delete((LOOPBACK, self._inside), user, denied=True)

    @property
    def _all(self) -> Sequence["KafkaRecipe"]:
        """The nodes of its cluster, or itself alone."""
        return [one for one in self.peers if isinstance(one, KafkaRecipe)] or [self]

    @property
    def _node(self) -> int:
        return self._all.index(self) + 1

    @property
    def behind_proxy(self) -> tuple[int, int]:
        # Clients go where Kafka tells them to: this listener tells those who come by it the proxy's port.
        behind, front = self._proxied
        return behind, front

    def _ports(self) -> dict[str, int]:
        names = ("SASL_SSL", "SASL_PLAINTEXT", "PLAINTEXT", "CONTROLLER")
        return dict(zip(names, (self.port, self.clear_port, self._inside, self._controller), strict=True))

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @staticmethod
    def _java(*options: str) -> list[str]:
        return ["java", "-XX:TieredStopAtLevel=1", *options, "-cp", f"{jars()}/*"]

    def _format(self) -> None:
        tool = [
            *self._java(),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            self._all[0]._cluster,
            "-c",
            str(self._properties),
        ]
        for user, password in self.security.passwords.items() if self.security else ():
            tool += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        with self.log.open("ab") as output:
            done = subprocess.run(tool, stdout=output, stderr=output, timeout=_FORMAT_TIME, check=False)  # noqa: S603
        if done.returncode:
            raise ServerNotReady(self.name, "could not format its folder", self.log.read_text(errors="replace")[-2000:])

    def _configuration(self) -> dict[str, str]:
        behind, front = self.behind_proxy
        return {
            "process.roles": "broker,controller",
            "node.id": str(self._node),
            "controller.quorum.voters": ",".join(f"{one._node}@{LOOPBACK}:{one._controller}" for one in self._all),
            "log.dirs": str(self.folder / "data"),
            **SETTINGS,
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},PROXIED://{LOOPBACK}:{behind},"
            f"CONTROLLER://{LOOPBACK}:{self._controller}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},PROXIED://{LOOPBACK}:{front}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
            **(CLUSTER if self.peers else {}),
            **({} if self.security or self.peers else OPEN),
        }


# What a single node needs, and what makes tests quick; the container gets the same.
SETTINGS = {
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A killed node may come back only when its old registration has run out: 9 s by default, measured as 12 s to serve.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}

# Everybody may do what nobody has forbidden, and a test may forbid something.
OPEN = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}

# What every confirmed message of a cluster rests on: three copies, two of them written.
CLUSTER = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
}
