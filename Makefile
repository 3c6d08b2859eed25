# Two commands from a fresh clone: `make up` and `make test`. Everything else is a part of one of them, or its opposite.

PYTHON ?= python3
CONFIG ?= configs/local.yaml
VENV ?= .venv
IMAGE ?= llama-herd:0.1.0
BUNDLED ?= [gpu]
CORES := $(shell nproc)
# Folders of tests that `make check` runs.
CHECKED := unit tools path
# Those that need no herd of engines: `make test` runs them first.
SOONER := alone hostile test_architecture.py
# Processes of the unit tests. They are more than half of what `make check` does, the rest of which is done beside them.
UNIT_WORKERS ?= $(shell echo $$(( $(CORES) < 4 ? 2 : $(CORES) < 6 ? $(CORES) - 1 : 4 )))
# How many examples the tests of laws try: few for `make check`, all for `make test`.
EXAMPLES ?= quick
BEGAN := $(shell date +%s)
TOOK = echo "make $@: $$(( $$(date +%s) - $(BEGAN) )) s"

# Each test starts programs of ours: where this is set, each of them would compile all of its modules anew, a fifth of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env wheel image bundle up down check unit-tests path-tests alone-tests engine-tests herd-tests other-tests test multihost apart chaos hostile lint bench bench-cpu bench-kills bench-overload bench-scaling bench-simulated bench-trace gpu-check figures fmt

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## The environment in .venv, for GPUs where an NVIDIA driver answers, else for CPU; HERD_ACCELERATOR=cpu|gpu overrules
	@$(PYTHON) cluster/machine/environment.py --extra dev --venv $(VENV)

wheel: env ## This package for nodes, as dist/llama_herd-VERSION-py3-none-any.whl: `ray up` copies and installs it
	@rm -f dist/llama_herd-*.whl
	@$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/llama_herd-*.whl

image: wheel ## The image of GPU nodes: IMAGE=registry/name:tag, BASE=… for another base than the Dockerfile's, BUILD=… for docker build
	@DOCKER_BUILDKIT=1 docker build $(if $(BASE),--build-arg BASE=$(BASE)) $(BUILD) --tag $(IMAGE) .
	@$(TOOK)

bundle: image ## All that nodes without a network need, in the folder bundle: the image as a file, wheels, their versions, and checksums
	@rm -rf bundle && mkdir -p bundle/wheels
	@$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --wheel-dir bundle/wheels --constraint constraints-gpu.txt "$$(ls dist/llama_herd-*.whl)$(BUNDLED)"
	@cp constraints-gpu.txt bundle/
	@docker save --output bundle/image.tar $(IMAGE)
	@cd bundle && find . -type f ! -name SHA256SUMS | sort | xargs sha256sum > SHA256SUMS
	@du -sh bundle
	@$(TOOK)

up: env ## Start the herd of CONFIG (configs/local.yaml) on this machine, and wait until it answers
	@$(VENV)/bin/herd up $(CONFIG)
	@$(TOOK)

down: env ## Stop it
	@$(VENV)/bin/herd down

lint: env
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

unit-tests: env
	@$(VENV)/bin/python -m pytest tests/unit --hypothesis-profile $(EXAMPLES) -p tests.tools.branches -n $(UNIT_WORKERS)

# Two processes, because these tests wait as long as they compute.
path-tests: env
	@$(VENV)/bin/python -m pytest tests/tools tests/path --hypothesis-profile $(EXAMPLES) -n 2

check: env ## What takes seconds: linters, types, import contracts, unit tests (of every branch that decides) and path tests, beside each other
	@$(MAKE) --no-print-directory --jobs=$(CORES) --output-sync lint unit-tests path-tests
	@$(TOOK)

# Each file starts programs of its own, which compute alone.
alone-tests: env
	@$(VENV)/bin/python -m pytest $(SOONER:%=tests/%) -n 2 --dist loadfile --durations=15

# An engine starts for half a minute on one core, and its tests wait for it: the others' engines have the rest.
engine-tests: env
	@$(MAKE) --no-print-directory --jobs=2 --output-sync --keep-going herd-tests other-tests

# One test after the other: most of them share one herd.
herd-tests: env
	@$(VENV)/bin/python -m pytest tests/e2e --durations=30

other-tests: env
	@$(VENV)/bin/python -m pytest tests $(CHECKED:%=--ignore=tests/%) $(SOONER:%=--ignore=tests/%) --ignore=tests/e2e --ignore=tests/multihost/test_faults.py --ignore=tests/apart --durations=30

# Each part runs also where one before it fails, so that one run tells all.
test: env ## What `check` does, what we rely on in vLLM and Ray, real engines end to end, and Maverick over fake hosts where the machine lends any
	@$(MAKE) --no-print-directory --jobs=1 --keep-going EXAMPLES=herd check alone-tests engine-tests
	@$(TOOK)

multihost: env ## `ray up` onto fake hosts, Maverick over two, containers on two: as root, with openssh-server, iproute2, rsync, redis-server, docker.io, mmdebstrap
	@$(VENV)/bin/python -m pytest tests/multihost
	@$(TOOK)

apart: env ## Prefill and decode apart, with real engines and NIXL: the same tokens, and none lost with the engine that prefills; ten minutes
	@$(VENV)/bin/python -m pytest tests/apart
	@$(TOOK)

chaos: env ## What is killed or cut in a cluster of fake hosts under load, and what it costs: as `make multihost`, with redis-server; an hour
	@$(VENV)/bin/python -m tests.multihost.chaos
	@$(TOOK)

hostile: env ## What comes from outside, against a gateway and a real herd: all cases, attacks, 100,000 fuzzed ones, with figures; an hour
	@$(VENV)/bin/python -m tests.hostile
	@$(TOOK)

bench: env ## What the gateway costs, against none at all; half an hour: VLLM_ROUTER=path of that program
	@$(VENV)/bin/python -m tests.bench.overhead $(if $(VLLM_ROUTER),--vllm-router $(VLLM_ROUTER))

bench-cpu: env ## The gateway's CPU time beside other proxies', that of observing, and that of a pick among up to 1,000 replicas: VLLM_ROUTER=path of that program
	@$(VENV)/bin/python -m tests.bench.cpu $(if $(VLLM_ROUTER),--vllm-router $(VLLM_ROUTER))
	@$(VENV)/bin/python -m tests.bench.observing
	@$(VENV)/bin/python -m tests.bench.pick

bench-kills: env ## Engines are killed while they answer, simulated and real ones; half an hour
	@$(VENV)/bin/python -m tests.bench.kills

bench-overload: env ## Ten times what can be served, and a flood of batch requests: VLLM_ROUTER=path of that program
	@$(VENV)/bin/python -m tests.bench.overload $(if $(VLLM_ROUTER),--vllm-router $(VLLM_ROUTER))

bench-trace: env ## Routing policies and peers on a trace: TRACE=path (else one is generated), VLLM_ROUTER=path of that program
	@$(VENV)/bin/python -m tests.bench.trace $(if $(TRACE),--trace $(TRACE)) $(if $(VLLM_ROUTER),--vllm-router $(VLLM_ROUTER))

bench-scaling: env ## Rules that scale replicas over the same loads in virtual time: TRACE=path (else one is generated), SEEDS=20; hours
	@$(VENV)/bin/python -m tests.bench.scaling --seeds $(or $(SEEDS),20) $(if $(TRACE),--trace $(TRACE))
	@$(TOOK)

bench-simulated: env ## The pace and the memory of the simulator: a million requests over 1,000 replicas; minutes
	@$(VENV)/bin/python -m tests.bench.simulated_million
	@$(TOOK)

gpu-check: env ## Real engines on this machine's GPU, with made-up weights, beside the plan: memory, start, throughput; ten minutes. Without a GPU it ends with 2
	@$(VENV)/bin/python -m tests.bench.gpu_check
	@$(TOOK)

figures: env ## The tables in tests/README.md, the planner's points and the plots, from the results that are there
	@$(VENV)/bin/python -m tests.bench.readme
	@$(VENV)/bin/python -m tests.bench.planner
	@$(VENV)/bin/python -m tests.bench.plots

fmt: env ## Format the code, mend what ruff can mend, and write the table of the config's fields
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/python -m tests.tools.schema_table
