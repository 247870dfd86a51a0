"""`python -m tests.support.servers install`: what the native servers need, from Debian's packages and from Maven.

Does nothing for a broker that the environment names, nor where a Docker engine answers. kcat is wanted everywhere.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import sets
from .choose import variable
from .commands import Failed, run
from .container import engine
from .debian import build
from .kafka_native import POM, jars
from .native import RECIPES, lacks

Say = Callable[[str], None]

_PACKAGES = {"redis": "redis-server", "rabbitmq": "rabbitmq-server"}
_POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package starts its service
_DENY = "#!/bin/sh\nexit 101\n"


def install(say: Say) -> bool:
    """Install what is missing and say, broker by broker, what is there. True if every broker can be had."""
    docker = "" if sets.chosen() else engine()
    wanted = [name for name in sets.brokers() if not os.environ.get(variable(name)) and not docker]
    lacking = [name for name in wanted if name in _PACKAGES and lacks(name)]
    problems = _other_debian(lacking, say) if sets.root() else _packages(lacking, say)
    if not shutil.which("kcat"):
        said = _attempt(lambda tell: _apt(["kafkacat"], tell), say)
        say(f"kcat, which some tests of Kafka use: {f'MISSING ({said})' if said else 'installed now'}")
    if "kafka" in wanted and lacks("kafka"):
        problems["kafka"] = _attempt(_fetch_jars, say)
    for name in sets.brokers():
        say(f"{name}: {_verdict(name, docker, problems)}")
    return not any(lacks(name) for name in wanted)


def _verdict(name: str, docker: str, problems: dict[str, str]) -> str:
    if os.environ.get(variable(name)):
        return f"{variable(name)} names it; nothing to do"
    if docker:
        return f"Docker engine {docker} answers and will run it; nothing to do"
    if lack := lacks(name):
        problem = problems.get(name, "")
        return f"MISSING: {lack}{f' ({problem})' if problem else ''}. By hand: {RECIPES[name].way_out}"
    return "installed now" if name in problems else "present"


def _packages(names: Sequence[str], say: Say) -> dict[str, str]:
    """What went wrong ("" for nothing) with each broker whose Debian package was missing."""
    if not names:
        return {}
    packages = [_PACKAGES[name] for name in names]
    problem = _attempt(lambda tell: _apt(packages, tell), say)
    return dict.fromkeys(names, problem)


def _other_debian(names: Sequence[str], say: Say) -> dict[str, str]:
    """What went wrong ("" for nothing) with each broker of the chosen set: all its packages come together."""
    return dict.fromkeys(names, _attempt(build, say)) if names else {}


def _attempt(work: Callable[[Say], None], say: Say) -> str:
    try:
        work(say)
    except Failed as error:
        return str(error)
    return ""


def _apt(packages: Sequence[str], say: Say) -> None:
    root = _as_root()
    say(f"apt-get install {' '.join(packages)} ...")
    run([*root, "apt-get", "update", "-q"])
    with _services_stay_down(root):
        quiet = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        run([*quiet, "install", "-y", "-q", "--no-install-recommends", *packages])


def _as_root() -> list[str]:
    """What to put in front of a command that needs root."""
    if not shutil.which("apt-get"):
        raise Failed("there is no apt-get here")
    if os.geteuid() == 0:
        return []
    try:
        run(["sudo", "-n", "true"])
    except Failed as error:
        raise Failed("apt-get needs root, and sudo is not allowed without a password") from error
    return ["sudo", "-n"]


@contextmanager
def _services_stay_down(root: Sequence[str]) -> Iterator[None]:
    """While this lasts, packages that are installed start no service of their own."""
    if _POLICY.exists():  # the machine has a policy, and it is not ours to change
        yield
        return
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as deny:
        deny.write(_DENY)
        deny.flush()
        run([*root, "install", "-m", "755", deny.name, str(_POLICY)])
    try:
        yield
    finally:
        run([*root, "rm", "-f", str(_POLICY)])


def _fetch_jars(say: Say) -> None:
    """Resolve the jars beside their place and move them there at once: a folder that exists is complete."""
    if not shutil.which("java") or not shutil.which("mvn"):
        raise Failed("java and mvn are both needed")
    say("Maven fetches the jars of Kafka (43 MB) ...")
    jars().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars().parent) as place:
        complete = Path(place) / "libs"
        version = f"-Dkafka.version={sets.KAFKA[sets.chosen()]}"
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={complete}"]
        run(["mvn", "-q", "-B", "-f", str(POM), version, *copy])
        if not jars().exists():  # somebody else may have been quicker
            complete.rename(jars())
