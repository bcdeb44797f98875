# `make` lists the targets. Nothing here asks a question; what cannot run here says so in one line.
.DEFAULT_GOAL := help
.PHONY: test-service help venv dev demo run test test-systems test-brokers test-chaos test-partitions test-chaos-2000 test-browser test-chain test-stripe test-contracts test-docker test-containers test-slurm test-schema \
        test-escapes test-schema-long test-bare \
        lint typecheck coverage bench bench-ledger bench-matching bench-month bench-slurm bench-swarm test-money screenshots docs clean

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
# What is compiled is kept, whatever a shell says: without it each process compiles all sources and each worker all tests.
unexport PYTHONDONTWRITEBYTECODE
# Two workers on small machines.
JOBS ?= 2
# More for pytest, as in: make test ARGS="accounts -k hours"
ARGS ?=
# What test-systems leaves out of each target below, and the target alone does not: what is long, or `make test` has run.
SMOKE :=
test-systems: SMOKE := -m "systems and not long"
# There, and in .ci/run, one that fails is run once more, and named as RERUN at the end, where two cores are all it has. The
# tests that strike at random (chaos, partitions), those of escapes and of the API document are run once more by .ci/run
# alone: one failure in many is what they look for, so a RERUN of theirs is to be looked into, with the seed that it names.
AGAIN :=
AT_RANDOM :=
RERUN := --reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks -rsR
test-systems: AGAIN := $(RERUN)
ifeq ($(CI),true)
test: AGAIN := $(RERUN)
AT_RANDOM := $(RERUN)
endif
# Where a job must not pick up what a developer's shell or .env says.
SQLITE := env -u DATABASE_URL -u DATABASE_DIRECT_URL -u BROKER_URL
# Not even to be collected, which takes each worker seconds.
PLAIN := -m "not systems" --ignore=tests/systems
# What needs no second engine runs once: the agent, what may ask no database, and what conftest.py names ONE_ENGINE.
ONCE := --database-only --ignore=gpus/tests/agent
# A file stays on one worker; the slowest begin, as conftest.py orders them.
SHARED := --dist loadfile --no-loadscope-reorder
COVERAGE_FLOOR := 85

help: ## List the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

venv: ## Make .venv and install what the server needs, where that changed
	@./start.sh --install requirements.txt

dev: venv ## The same with the tools for tests and checks
	@./start.sh --install requirements-dev.txt

demo: venv ## From nothing to a task that ran and was charged; the server stays up
	@$(PYTHON) manage.py demo $(ARGS)

run: venv ## Start the platform as one process on http://127.0.0.1:8000
	@$(PYTHON) manage.py up $(ARGS)

test: dev ## Unit, API, property and race tests on SQLite and on PostgreSQL where there is one
	@echo "== sqlite"
	@$(SQLITE) $(PYTEST) -n $(JOBS) $(SHARED) $(PLAIN) $(AGAIN) $(ARGS)
	@$(PYTHON) tests/peers.py postgresql -- $(PYTEST) -n $(JOBS) $(SHARED) $(PLAIN) $(ONCE) $(AGAIN) $(ARGS)

test-systems: dev test-service test-brokers test-chaos test-partitions test-files test-browser test-chain test-stripe test-docker test-containers test-slurm test-schema test-escapes ## What needs a real peer beside it, in short: each by its own name runs everything

test-brokers: dev ## Separate processes on PostgreSQL with Redis and with RabbitMQ; four workers of one server
	@$(PYTEST) -m systems -rs tests/systems/test_brokers.py tests/systems/test_four_workers.py $(AGAIN) $(ARGS)

test-chaos: dev ## Kill servers, agents and programs at random, cut hosts off; every task must end once
	@$(PYTEST) -m systems -rs -s tests/systems/test_chaos.py $(AT_RANDOM) $(ARGS)

test-partitions: dev ## Cut, deafen and slow the wires to hosts; restart servers and the database; let clocks jump
	@$(PYTEST) -m systems -rs -s tests/systems/test_partitions.py $(SMOKE) $(AT_RANDOM) $(ARGS)

test-chaos-2000: dev ## The same with 2 000 tasks and 480 blows, on PostgreSQL and Redis
	@CHAOS_TASKS=2000 CHAOS_BLOWS=$${CHAOS_BLOWS:-480} $(PYTEST) -m systems -rs -s tests/systems/test_chaos.py -k redis $(ARGS)

test-files: dev ## Uploads, inputs, results and checkpoints through a whole house, and in a container on Azurite, which npm brings
	@$(SQLITE) $(PYTEST) -m systems -rs tests/systems/test_files.py tests/systems/test_azure.py $(SMOKE) $(AGAIN) $(ARGS)

test-browser: dev ## Walk through the admin and the API in Chromium
	@$(PYTEST) -n $(JOBS) $(SHARED) -m systems -rs tests/systems/test_browser.py tests/systems/test_browser_pages.py \
	    tests/systems/test_browser_accounts.py tests/systems/test_sign_in.py tests/systems/test_live_log.py $(AGAIN) $(ARGS)

test-chain: dev ## Payments on a real EVM node, which npm brings
	@$(SQLITE) $(PYTEST) -m systems -rs tests/systems/test_chain.py $(SMOKE) $(AGAIN) $(ARGS)

test-stripe: dev ## Cards on localstripe, and with STRIPE_TEST_SECRET_KEY, a key of Stripe's test mode, on Stripe itself
	@$(SQLITE) $(PYTEST) -m systems -rs tests/systems/test_localstripe.py $(SMOKE) $(AGAIN) $(ARGS)

test-contracts: dev ## Four schedulers killed at random lines over 24 missed months of 40 contracts, on SQLite and PostgreSQL
	@$(SQLITE) $(PYTEST) -s -m long payments/tests/test_contract_crash.py $(ARGS)
	@$(PYTHON) tests/peers.py postgresql -- $(PYTEST) -s -m long payments/tests/test_contract_crash.py $(ARGS)

test-docker: dev ## Build the image and run it; needs an engine, or root and dockerd
	@$(PYTEST) -m systems -rs -s tests/systems/test_image.py tests/systems/test_roles.py $(AGAIN) $(ARGS)

test-slurm: dev ## Run, end and lose jobs on a real Slurm cluster of three nodes; needs root and slurm-wlm
	@$(PYTEST) -m systems -rs tests/systems/test_slurm.py tests/systems/test_slurm_house.py $(SMOKE) $(AGAIN) $(ARGS)

test-containers: dev ## Run tasks in containers of Docker and of Podman; needs root, dockerd, podman and busybox-static
	@$(PYTEST) -m systems -rs tests/systems/containers $(SMOKE) $(AGAIN) $(ARGS)

test-service: dev ## Requests to programs that serve, over one live process and over two; one without an end is paid for hour by hour
	@$(PYTEST) -m systems -rs tests/systems/test_service.py tests/systems/test_going_on.py $(SMOKE) $(AGAIN) $(ARGS)

test-escapes: dev ## What programs try against their host, under a real bubblewrap: reach, limits, hostile output
	@$(PYTEST) -rs gpus/tests/agent/test_sandbox.py gpus/tests/agent/test_limits.py tests/systems/test_escapes.py $(SMOKE) $(AT_RANDOM) $(ARGS)

test-schema: dev ## Send what the API document allows and forbids, as nobody, a user and staff
	@$(SQLITE) $(PYTEST) -n $(JOBS) -m systems -rs tests/systems/test_schema.py $(AT_RANDOM) $(ARGS)

test-schema-long: dev ## The same with ten times as many calls
	@$(SQLITE) SCHEMA_EXAMPLES=120 SCHEMA_SECONDS=36000 $(PYTEST) -n $(JOBS) -m systems -rs tests/systems/test_schema.py $(ARGS)

test-money: dev ## Money of all kinds by many more random steps than `make test` takes, on SQLite and PostgreSQL
	@$(SQLITE) MONEY_MACHINE=long $(PYTEST) -s tests/test_money_machine.py accounts/ledger/tests/test_machine.py $(ARGS)
	@MONEY_MACHINE=long $(PYTHON) tests/peers.py postgresql -- $(PYTEST) -s tests/test_money_machine.py $(ARGS)

test-bare: ## Clone into a bare Debian, run `make demo` and `make test` there; needs root and debootstrap
	@tests/bare/machine.sh $(ARGS)

lint: dev typecheck ## Style, layers, types, system checks for production, missing migrations
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	.venv/bin/lint-imports --no-logo
	@echo "$(PYTHON) manage.py check --deploy; makemigrations --check"
	@SECRET_KEY=$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(64))') && \
	    export SECRET_KEY BASE_URL=https://gaas.example LOG_LEVEL=WARNING && \
	    export DATABASE_URL=sqlite://:memory: BROKER_URL=memory:// && \
	    $(PYTHON) manage.py check --deploy --fail-level WARNING && \
	    $(PYTHON) manage.py makemigrations --check --dry-run

typecheck: dev ## Types of the kernel, the services and the pure modules
	SECRET_KEY=types $(PYTHON) -m mypy

coverage: dev ## Tests on SQLite with the branches they take; fails under the floor
	@$(SQLITE) $(PYTEST) -n $(JOBS) $(SHARED) $(PLAIN) --cov --cov-branch \
	    --cov-report=term:skip-covered --cov-report=html --cov-fail-under=$(COVERAGE_FLOOR) $(ARGS)

bench: dev ## From approval to the agent: the time of a dispatch, here and on PostgreSQL with Redis
	@$(PYTHON) bench/dispatch.py $(ARGS)

bench-matching: dev ## One pass of the matcher over 10 000 GPUs and 100 000 waiting tasks, beside SQL alone
	@$(PYTHON) bench/matching.py $(ARGS)

bench-swarm: dev ## 2 000 agents on one live process: memory of a wait, waking all, syncs together and alone
	@$(PYTHON) bench/swarm.py $(ARGS)

bench-ledger: dev ## Hold and capture on PostgreSQL: pairs a second and client CPU, beside pgbench with the same SQL
	@$(PYTHON) bench/ledger.py $(ARGS)

bench-month: dev ## A month of 200 accounts and 20 000 tasks on both engines; do the books add up, and what does the check take?
	@$(PYTHON) bench/month.py $(ARGS)

bench-slurm: dev ## The same work here and on Slurm, in one run, as a ratio; needs root and slurm-wlm
	@$(PYTHON) bench/slurm.py $(ARGS)

screenshots: dev ## Take the pictures in docs/ anew from a running demo
	@$(PYTHON) docs/screenshots.py $(ARGS)

docs: dev ## Write the OpenAPI schema to build/schema.yaml
	@mkdir -p build
	@SECRET_KEY=docs LOG_LEVEL=WARNING $(SQLITE) $(PYTHON) manage.py spectacular --validate --fail-on-warn --file build/schema.yaml
	@echo "build/schema.yaml"

clean: ## Remove caches and what was built; keeps .venv and var
	rm -rf build static htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
