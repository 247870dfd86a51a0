"""The programs, links and commands in README and docs are right."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer

from msgbus import Message, RetryPolicy, connect
from msgbus.cli.app import app
from msgbus.settings import Settings
from msgbus_kafka.options import KafkaOptions
from msgbus_memory.options import MemoryOptions
from msgbus_rabbitmq.options import RabbitOptions
from msgbus_redis.options import RedisOptions
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS: Final = ROOT / "docs"
PAGES: Final = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md")})
READY_SECONDS: Final = 20

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str = "") -> list[str]:
    """Return the code blocks of ``page`` in ``language``; indented ones without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def without_blocks(page: Path) -> str:
    """Return the text of ``page`` without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the file and the anchor of each link of ``page`` that stays in the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_blocks(page))
    local = [link.partition("#") for link in found if "://" not in link]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in local]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of ``page``, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set[str]()
    for heading in re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


# Links and commands.


@pages
def test_links_and_make_targets_in_the_docs_exist(page: Path) -> None:
    for file, anchor in links(page):
        assert file.exists(), file
        if anchor:
            assert anchor in anchors(file), f"{file.name}#{anchor}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)(?=`|$| +[A-Z]+=| +#)", page.read_text(), re.MULTILINE)) <= targets


def test_every_page_is_reached_from_the_index() -> None:
    reached, todo = set[Path](), [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        if page not in reached:
            reached.add(page)
            todo += [file for file, _ in links(page) if file.suffix == ".md" and DOCS in file.parents]
    lost = sorted(str(page.relative_to(ROOT)) for page in set(DOCS.rglob("*.md")) - reached)
    assert not lost


def test_the_index_lists_every_page_for_users() -> None:
    listed = {file for file, _ in links(DOCS / "index.md")}
    folders = ("how-to", "concepts", "brokers", "reference")
    lost = sorted(page.name for folder in folders for page in set((DOCS / folder).glob("*.md")) - listed)
    assert not lost


def test_the_readme_leads_to_the_index() -> None:
    assert DOCS / "index.md" in {file for file, _ in links(ROOT / "README.md")}


def test_every_page_that_the_sources_name_is_there() -> None:
    sources = [
        path
        for folder in ("msgbus", "adapters", "pytest_msgbus", "bench", "tests", "examples")
        for path in (ROOT / folder).rglob("*.py")
    ]
    named = {
        (path, page)
        for path in [*sources, ROOT / "Makefile"]
        for page in re.findall(r"docs/[\w/.-]+\.md", path.read_text())
    }
    assert named
    lost = sorted(f"{path.relative_to(ROOT)}: {page}" for path, page in named if not (ROOT / page).exists())
    assert not lost


def test_dead_links_and_anchors_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Over `a` and b!\n## Twice\n## Twice\n[one](#twice-1) [two](other.md#x)\n```\n[no](link.md)\n# no\n```\n"
    )
    assert anchors(page) == {"over-a-and-b", "twice", "twice-1"}
    assert links(page) == [(page, "twice-1"), (tmp_path / "other.md", "x")]


# Programs.


def test_the_readmes_program_runs_as_printed(tmp_path: Path) -> None:
    program = blocks(ROOT / "README.md", "python")[0]
    ran = subprocess.run(  # noqa: S603 - our own README
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path
    )
    assert ran.stdout == "customer-4 gets 29 points\n"
    assert ran.stderr == ""


def test_the_service_of_the_quickstart_handles_its_messages_and_ends_in_good_order_at_sigterm(tmp_path: Path) -> None:
    (program,) = blocks(DOCS / "quickstart.md", "python")
    with subprocess.Popen(  # noqa: S603 - our own page
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MSGBUS_URL": "memory://"},
    ) as service:
        assert service.stdout is not None
        said = [service.stdout.readline() for _ in range(3)]
        service.send_signal(signal.SIGTERM)
        rest = service.communicate(timeout=READY_SECONDS)
    assert said == [f"customer-4 gets {points} points\n" for points in (10, 20, 30)]
    assert (*rest, service.returncode) == ("", "", 0)


@pages
def test_the_python_in_the_docs_can_be_parsed(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pages
def test_the_names_that_the_docs_import_are_there(page: Path) -> None:
    for block in blocks(page, "python"):
        for line in re.findall(r"^from msgbus\b.*$", block, re.MULTILINE):
            exec(line, {})  # noqa: S102 - our own page


def test_the_first_policy_of_the_page_on_retries_is_the_default() -> None:
    (shown,) = blocks(DOCS / "concepts" / "retries.md", "python")
    names: dict[str, Any] = {}
    exec(shown.replace("\nRetryPolicy(", "\nshown = RetryPolicy("), names)  # noqa: S102 - our own page
    assert names["shown"] == RetryPolicy()


TESTED_OTHERWISE: Final = {"observe-health.md", "test-a-service.md"}
EXAMPLES: Final = [
    page
    for folder in ("how-to", "concepts")
    for page in sorted((DOCS / folder).glob("*.md"))
    if page.name not in TESTED_OTHERWISE and blocks(page, "python")
]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
async def test_the_examples_of_a_page_run_one_after_another(page: Path) -> None:
    """Each with a broker of its own, which has the queues that the examples use."""
    names: dict[str, Any] = {
        "MyGatewayDown": type("MyGatewayDown", (Exception,), {}),
        "RetryPolicy": RetryPolicy,
        "award": an_example_callback,
    }
    for number, block in enumerate(blocks(page, "python")):
        async with connect(f"memory://{page.stem}-{number}", group="loyalty") as broker:
            for queue in ("orders", "points-awarded", "purchases"):
                await broker.create_queue(queue, groups=["loyalty"])
            ran = eval(  # noqa: S307 - our own page
                compile(block, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names | {"broker": broker}
            )
            if inspect.isawaitable(ran):
                await ran


async def an_example_callback(message: Message) -> None:
    del message


def test_the_examples_of_a_services_tests_are_the_services_own() -> None:
    shown = [block for block in blocks(DOCS / "how-to" / "test-a-service.md", "python") if "Loyalty(" in block]
    assert len(shown) == 2
    for block in shown:
        assert block in (ROOT / "examples" / "loyalty" / "test_loyalty.py").read_text()


def test_the_contract_on_another_adapter_is_as_shown() -> None:
    """Run by tests/third_party_adapter, but for the URL."""
    (suite,) = [block for block in blocks(DOCS / "how-to" / "test-a-service.md", "python") if "@contract" in block]
    ran = (ROOT / "tests" / "third_party_adapter" / "suite.txt").read_text()
    assert suite.replace("redis://localhost/9?visibility=2", "listed://here") == ran


async def test_the_probe_of_the_page_on_health_answers_as_the_broker_is() -> None:
    (shown,) = [block for block in blocks(DOCS / "how-to" / "observe-health.md", "python") if "readyz" in block]
    probe: dict[str, Any] = {"broker": connect("memory://", group="g")}
    exec(shown, probe)  # noqa: S102 - our own page
    async with await asyncio.start_server(probe["readyz"], "127.0.0.1", 0) as server:
        answers = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
            answers.append((await reader.read()).decode())
            writer.close()
            await probe["broker"].close()
    assert [answer.split("\r\n")[0] for answer in answers] == ["HTTP/1.1 200 OK", "HTTP/1.1 503 Service Unavailable"]
    assert json.loads(answers[1].split("\r\n\r\n")[1])["reasons"] == ["the broker is closed"]


def commands_in(page: Path) -> Iterator[list[str]]:
    """Yield the words of each ``msgbus …`` command that ``page`` shows, without the first."""
    for block in blocks(page):
        for line in block.splitlines():
            if line.startswith(("msgbus ", "$ msgbus ")):
                yield shlex.split(line.removeprefix("$ "), comments=True)[1:]
    for span in re.findall(r"`msgbus ([^`\n]+)`", page.read_text()):
        if not re.search(r"[…|A-Z]{2}|…|\|", span):
            yield shlex.split(span)


@pages
def test_the_commands_in_the_docs_have_options_that_exist(page: Path) -> None:
    for words in commands_in(page):
        command: Any = typer.main.get_command(app)
        for word in words:
            command = getattr(command, "commands", {}).get(word, command)
        options = {one for parameter in command.params for one in parameter.opts}
        used = {word for word in words if word.startswith("-")}
        assert used <= options, (page.name, command.name, used - options)


@pages
def test_the_paths_and_modules_in_the_docs_exist(page: Path) -> None:
    text = page.read_text()
    paths = re.findall(r"`((?:msgbus|adapters|pytest_msgbus|tests|bench|examples)/[\w./]+)`", text)
    lost = {path for path in paths if not (ROOT / path).exists()} - NOT_HERE
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    assert not lost | {name for name in modules if find_spec(name) is None}


@pages
def test_the_variables_in_the_docs_are_read_by_something(page: Path) -> None:
    named = set(re.findall(r"\bMSGBUS_[A-Z_]*[A-Z]\b", page.read_text()))
    assert named <= variables() | EXAMPLES_OF_UNKNOWN_VARIABLES


EXAMPLES_OF_UNKNOWN_VARIABLES: Final = {"MSGBUS_GRUOP", "MSGBUS_PORT"}

NOT_HERE: Final = {"bench/results/", "msgbus/connect.py"}
"""A folder that a run makes, and a name that a decision rejected."""


@cache
def variables() -> set[str]:
    """Return the variables of the environment that msgbus, its tests and its Makefile read."""
    options = (Settings, KafkaOptions, MemoryOptions, RabbitOptions, RedisOptions)
    settings = {f"MSGBUS_{name.upper()}" for kind in options for name in kind.model_fields}
    servers = {f"MSGBUS_TEST_{name}_URL" for name in ("KAFKA", "RABBITMQ", "REDIS")}
    sources = [ROOT / "Makefile", *(path for folder in ("tests", "msgbus") for path in (ROOT / folder).rglob("*.py"))]
    read = {name for path in sources for name in re.findall(r"\bMSGBUS_TEST_[A-Z_]*[A-Z]\b", path.read_text())}
    return settings | servers | read | {"MSGBUS_URL"}


# Decisions.

RECORDS: Final = sorted((DOCS / "decisions").glob("0*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_has_its_number_and_its_four_parts(record: Path) -> None:
    text = record.read_text()
    assert text.startswith(f"# {record.stem[:4]}. ")
    parts = re.findall(r"^\*\*(\w+)\.\*\*(?=\s)", text, re.MULTILINE)
    assert parts == ["Context", "Decision", "Rejected", "Measured"]
    for part in re.split(r"^\*\*\w+\.\*\*", text, flags=re.MULTILINE)[1:]:
        assert part.strip(), "a part is empty"


def test_every_decision_is_on_the_list_once_by_its_title() -> None:
    listed = re.findall(r"^- \[(.+)\]\((0[\w-]+\.md)\)", (DOCS / "decisions" / "README.md").read_text(), re.MULTILINE)
    assert sorted(file for _, file in listed) == [record.name for record in RECORDS]
    for title, file in listed:
        assert (DOCS / "decisions" / file).read_text().splitlines()[0] == f"# {file[:4]}. {title}"
