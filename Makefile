# Python 3.11 to 3.14 and make are all that a machine needs; everything else goes into .venv, from hashed locks.
# Paths are relative: a clone may lie anywhere, also below names with spaces.

SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
PG ?= 18
JOBS ?= 2
# Each process has a Postgres of its own, and a file's tests run in one: they wait more than they work.
TOGETHER = --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
PORTS ?=
S ?=
ID ?=
REASON ?=
COLUMNS ?=
REPAIR ?=
STACK ?=
TO ?=
FROM ?=
DATA_ONLY ?=
CONFIRM ?=
export ID
export REASON
export TO
export FROM
export PG
export PYTHONPATH = services:libs:protos/python:deploy
# The zones of the pinned tzdata, and not the machine's.
export PYTHONTZPATH =
export PIP_DISABLE_PIP_VERSION_CHECK = 1
.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-pythons test-long lint format proto docs proto-check baseline lock bench-references bench-list bench-overload bench-rpc up run status token \
	logs psql events events-replay events-drop sagas referrers referrers-leave audit backup restore down clean certs compose-up compose-down test-compose

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

demo: .venv/compiled ## show it all: a fresh stack, 10,000 bookings, one followed aloud, a stream resumed (PG=16 too)
	@$(RUN) -m demo

test: .venv/compiled lint ## lint, then every test but the long ones (PG=16: on PostgreSQL 16; JOBS=4: in four processes)
	@$(RUN) -m pytest $(TOGETHER) --ignore=tests/compose -m 'not long'

test-unit: .venv/compiled ## the tests that need nothing, in seconds
	@$(RUN) -m pytest -m 'not long' tests/test_tidy.py tests/unit

test-pythons: .venv/compiled ## the unit tests on every other supported Python that is on PATH
	@$(RUN) requirements/environment.py --others

test-long: .venv/compiled lint ## every test, with all of every matrix
	@$(RUN) -m pytest $(TOGETHER) --ignore=tests/compose

lint: .venv/compiled proto-check ## ruff, mypy --strict, buf, hadolint
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff format --quiet --check .
	@.venv/bin/hadolint deploy/Dockerfile
	@$(RUN) -m mypy --no-error-summary services libs deploy tests docs/generate.py protos/generate.py requirements/environment.py protos/python/teppan/client

format: .venv/compiled ## format and mend what ruff can mend
	@$(RUN) -m ruff check --quiet --fix . ; $(RUN) -m ruff format --quiet .

proto: .venv/compiled ## make the stubs in protos/python from the protos
	@$(RUN) protos/generate.py

docs: .venv/compiled ## make what docs/ say of the contract anew: the picture and the table of references
	@$(RUN) docs/generate.py

proto-check: .venv/compiled ## fail where the stubs are not those of the protos, or the contract breaks a promise
	@$(RUN) protos/generate.py --check
	@$(RUN) protos/generate.py --lint

baseline: .venv/compiled ## promise the present contract: move protos/baseline.binpb, in a commit of its own
	@$(RUN) protos/generate.py --baseline

lock: .venv/compiled ## resolve requirements/*.in into hashed locks
	@$(RUN) -m pip install --quiet uv
	@for name in runtime dev bench; do $(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' requirements/$$name.in -o requirements/$$name.lock || exit; done

bench-references: .venv/compiled ## what references cost a create, beside the limits: ten minutes (PG=16 too)
	@$(RUN) -m tests.bench.references

bench-list: .venv/compiled ## what lists cost, beside COPY, Go and FastAPI where they are there (BENCH_ROWS=400000; PG=16 too)
	@$(RUN) -m tests.bench.list
	@$(RUN) -m tests.bench.performance

bench-overload: .venv/compiled ## three times the peak, noisy neighbours, readers that stop, idleness (BENCH_SECONDS=60; PG=16 too)
	@$(RUN) -m tests.bench.overload
	@$(RUN) -m tests.bench.performance

bench-rpc: .venv/compiled ## what calls cost, beside Go and FastAPI where they are there (BENCH_ROWS=400000; PG=16 too)
	@$(RUN) -m tests.bench.rpc
	@$(RUN) -m tests.bench.performance

up: .venv/compiled ## start the stack in the background and say how to call it (PORTS='bookings=6052')
	@$(RUN) -m local up --ports '$(PORTS)'

run: .venv/compiled ## the same in the foreground; Ctrl-C stops all of it
	@exec $(RUN) -m local run --ports '$(PORTS)'

status: .venv/compiled ## say what runs, and what is healthy
	@$(RUN) -m local status

token: .venv/compiled ## log in as the platform administrator again
	@$(RUN) -m local token

logs: .venv/compiled ## follow the log of a service (S=bookings)
	@$(RUN) -m local logs $(or $(S),bookings)

psql: .venv/compiled ## open psql on a service's schema (S=bookings)
	@$(RUN) -m local psql $(or $(S),bookings)

events: .venv/compiled ## list events that could not be applied (S=payments; of all services without)
	@$(RUN) -m local events --service '$(S)'

events-replay: .venv/compiled ## apply one, and what waits behind it, once its handler is mended (S=payments ID=..., ID=all)
	@$(RUN) -m local events-replay --service '$(S)' --id "$$ID"

events-drop: .venv/compiled ## give one up for good, and apply what waits behind it (S=payments ID=... REASON='...'; ERROR=... for ID: all)
	@$(RUN) -m local events-drop --service '$(S)' --id "$$ID" --error "$$ERROR" --reason "$$REASON"

sagas: .venv/compiled ## list what was begun across services and has not ended (S=payments; of all services without)
	@$(RUN) -m local sagas --service '$(S)'

referrers: .venv/compiled ## list who refers to what a service owns, and is asked before a purge (S=identity; of all without)
	@$(RUN) -m local referrers --service '$(S)'

referrers-leave: .venv/compiled ## ask no more about a column that is gone for good (S=identity REFERRER=bookings COLUMN=table.column)
	@$(RUN) -m local referrers-leave --service '$(S)' --referrer "$$REFERRER" --column "$$COLUMN"

audit: .venv/compiled ## ask whether what services refer to at each other is there (REPAIR=yes COLUMNS='...' STACK=a stack.json)
	@$(RUN) -m audit --columns '$(COLUMNS)' $(if $(STACK),--stack '$(STACK)') $(if $(filter yes,$(REPAIR)),--repair)

backup: .venv/compiled ## write what a service has in the database to a file (S=identity TO=...); it goes on meanwhile
	@$(RUN) -m local backup '$(S)' --to "$$TO"

restore: .venv/compiled ## bring that back (S=identity FROM=... CONFIRM=yes; DATA_ONLY=yes: into the tables that are there)
	@$(RUN) -m local restore '$(S)' --from "$$FROM" $(if $(filter yes,$(DATA_ONLY)),--data-only) $(if $(filter yes,$(CONFIRM)),--confirmed)

down: .venv/compiled ## stop the stack; data stay
	@$(RUN) -m local down

clean: .venv/compiled ## stop the stack and remove its data; asks first
	@$(RUN) -m local clean

certs: .venv/compiled ## make the containers' secrets, and certificates by a development authority
	@$(RUN) -m compose certs

compose-up: .venv/compiled ## start the stack in containers: two replicas of each service behind Envoy (PORTS too)
	@$(RUN) -m compose up --ports '$(PORTS)'

compose-down: .venv/compiled ## stop the containers; data stay (DATA=remove removes them)
	@$(RUN) -m compose down $(if $(filter remove,$(DATA)),--data)

test-compose: .venv/compiled ## the e2e tests against the containers, and what becomes of them when things break
	@TEPPAN_STACK=compose $(RUN) -m pytest -m 'not long' tests/e2e tests/compose

.venv/compiled: .venv/ready $(wildcard libs/rowwire/*.[ch])
	@$(RUN) -m rowwire.build
	@touch $@

.venv/ready: requirements/dev.lock
	@test -n '$(PYTHON)' || { echo "make needs Python 3.11, 3.12, 3.13 or 3.14, with venv, and PATH has $$(python3 --version 2>/dev/null \
		|| echo none): install one of those beside it, or name one by PYTHON=..." >&2; exit 2; }
	@$(PYTHON) requirements/environment.py
