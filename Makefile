# Two commands do everything and need nothing prepared: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA ?= examples/data/CDNOW_sample.txt
SEEDS ?= 1000
WORKERS ?= 4
BESIDE = -n $(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help demo demo-crash test contract planted check fmt brokers brokers-next conformance test-docker up down lock clean bench bench-quick

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## the two example services on MSGBUS_URL (default memory://); DATA=FILE for other purchases
	@$(BIN)/python -m examples.demo --data $(DATA)

demo-crash: $(READY)  ## two loyalty processes on MSGBUS_URL, one killed with messages in flight
	@$(BIN)/python -m examples.crash --data $(DATA)

test: $(READY) brokers  ## everything, on real brokers; WORKERS=4 side by side, 0 for one after another
	@$(BIN)/python -m pytest $(BESIDE) --conformance compare

test-docker: $(READY)  ## what takes a Docker engine: docker-compose.yml, and servers in containers
	@$(BIN)/python -m pytest tests/integration/docker

conformance: $(READY)  ## run the contract and renew CONFORMANCE.md; SET=next|valkey, CASES=expression
	@MSGBUS_TEST_SET=$(SET) $(BIN)/python -m pytest tests/contract --conformance write $(if $(CASES),-k "$(CASES)",$(BESIDE))

contract: $(READY)  ## the contract suite alone; BROKER=memory|redis|rabbitmq|kafka for one of them
	@$(BIN)/python -m pytest tests/contract $(BESIDE) $(if $(BROKER),-k $(BROKER))

planted: $(READY)  ## which case catches which planted bug, as a table
	@$(BIN)/python -m tests.mutation

.PHONY: upgrade
upgrade: $(READY) brokers  ## members of FROM=commit and of this tree in one group, there and back; ROUNDS=1, BROKER=one
	@$(BIN)/python -m tests.support.upgrade $(if $(FROM),--from $(FROM)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(BROKER),--broker $(BROKER))

.PHONY: simulate
simulate: $(READY)  ## members that crash on a server that fails, in SEEDS=1000 orders of events; no server
	@MSGBUS_TEST_SEEDS=$(SEEDS) $(BIN)/python -m pytest tests/simulation -o timeout=0

# Where ROUNDS is a number of its own for each file, it is run by itself. All are run, whatever fails.
LONG = $(BIN)/python -m pytest -o timeout=0
.PHONY: nightly
nightly: SEEDS = 10000
nightly: $(READY) brokers  ## the long forms of what make test runs short, and SEEDS=10000 simulations; hours
	@failed=; \
	MSGBUS_TEST_ROUNDS=300 MSGBUS_TEST_SWITCHES=100 $(LONG) tests/integration/kafka/test_rebalances.py || failed=1; \
	MSGBUS_TEST_ROUNDS=30 $(LONG) tests/integration/kafka/test_killed_members.py || failed=1; \
	MSGBUS_TEST_ROUNDS=10 $(LONG) tests/integration/kafka/test_node_failures.py || failed=1; \
	MSGBUS_TEST_ROUNDS=20 $(LONG) tests/integration/kafka/test_shutdown.py || failed=1; \
	MSGBUS_TEST_MESSAGES=5000000 $(LONG) tests/integration/memory/test_resident_memory.py || failed=1; \
	MSGBUS_TEST_ROUNDS=20 MSGBUS_TEST_FREEZES=30 MSGBUS_TEST_BETWEEN=5000 \
		$(LONG) $(BESIDE) tests/integration/any_broker/test_broker_restart.py || failed=1; \
	MSGBUS_TEST_ROLLS=20 MSGBUS_TEST_CLOSURES=10 MSGBUS_TEST_LEADERS=5 MSGBUS_TEST_HEARTBEAT=10 \
		MSGBUS_TEST_CANCELLED=1000 MSGBUS_TEST_SECURED=all MSGBUS_TEST_UPGRADES=5 $(LONG) $(BESIDE) tests/integration || failed=1; \
	$(LONG) $(BESIDE) tests/contract --contract-size large || failed=1; \
	MSGBUS_TEST_FALLBACK=1 $(LONG) tests/contract/test_rabbitmq.py tests/integration/rabbitmq || failed=1; \
	MSGBUS_TEST_SEEDS=$(SEEDS) $(LONG) $(BESIDE) tests/simulation || failed=1; \
	test -z "$$failed"

check: $(READY)  ## format, lint, types, imports, unit tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/python -m tests.support.docstrings
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/pyright -p pyright-adapters.json --pythonpath $(BIN)/python
	@$(BIN)/python -m pytest tests/unit tests/contract/test_memory.py -q -n 2

fmt: $(READY)  ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

BENCHED := $(VENV)/.benched
$(BENCHED): $(READY) requirements-bench.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -r requirements-bench.lock
	@touch $@

bench: $(BENCHED) brokers  ## msgbus beside the raw clients and FastStream, at least 5 rounds: see docs/performance.md
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(BENCHED) brokers  ## the same with few messages and one round
	@$(BIN)/python -m bench --quick $(ARGS)

brokers: $(READY)  ## install what the tests need to run real brokers here
	@$(BIN)/python -m tests.support.servers install

brokers-next: $(READY)  ## install the other versions, for make conformance SET=next|valkey
	@MSGBUS_TEST_SET=next $(BIN)/python -m tests.support.servers install

up: $(READY)  ## start one to try things: make up BROKER=redis|rabbitmq|kafka; prints its URL
	@$(BIN)/python -m tests.support.servers up $(BROKER)

down: $(READY)  ## stop what `make up` started
	@$(BIN)/python -m tests.support.servers down

lock:  ## pin the newest versions that pyproject.toml allows
	@$(PYTHON) -m uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--quiet --upgrade --no-header --no-annotate --no-emit-index-url --output-file requirements.lock

clean:  ## remove what was built or cached here
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
