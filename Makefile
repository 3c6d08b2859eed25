# Two commands from a fresh clone: `make up` and `make test`. Everything else is a part of one of them, or its opposite.

PYTHON ?= python3
CONFIG ?= configs/local.yaml
VENV ?= .venv
IMAGE ?= llama-herd:0.1.0
BUNDLED ?= [gpu]
# Folders of tests that `make check` runs.
CHECKED := unit tools path
# The parts of these, each for one process, so that no process collects what another one runs. The last part of a folder has all that
# the others of it leave.
UNIT := unit-cluster unit-commands unit-deployments unit-others
unit-cluster: TESTS = tests/unit/cluster
unit-commands: TESTS = tests/unit/deployments/commands
unit-deployments: TESTS = tests/unit/deployments --ignore=tests/unit/deployments/commands
unit-others: TESTS = tests/unit --ignore=tests/unit/cluster --ignore=tests/unit/deployments
ON_SOCKETS := path-a-to-e path-f-to-l path-others tools
path-a-to-e: TESTS = tests/path/test_[a-e]*.py
path-f-to-l: TESTS = tests/path/test_[f-l]*.py
path-others: TESTS = tests/path --ignore-glob='tests/path/test_[a-l]*'
tools: TESTS = tests/tools
# Those that need no herd of engines: `make test` runs them before it.
SOONER := alone hostile test_architecture.py
# How many examples the tests of laws try: few for `make check`, all for `make test`.
EXAMPLES ?= quick
BEGAN := $(shell date +%s)
TOOK = echo "make $@: $$(( $$(date +%s) - $(BEGAN) )) s"

# Each test starts programs of ours: where this is set, each of them would compile all of its modules anew, a fifth of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env wheel image bundle up down check unit-tests $(UNIT) path-tests $(ON_SOCKETS) alone-tests engine-tests test multihost apart chaos hostile lint bench bench-cpu bench-kills bench-overload bench-scaling bench-simulated bench-trace gpu-check figures fmt

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

# These and the unit tests only compute: they give way to the path tests, which wait as long as they compute.
lint: env
	@nice $(VENV)/bin/ruff check .
	@nice $(VENV)/bin/ruff format --check .
	@nice $(VENV)/bin/mypy
	@nice $(VENV)/bin/lint-imports

$(UNIT): env
	@nice $(VENV)/bin/python -m pytest $(TESTS) --hypothesis-profile $(EXAMPLES) -p tests.tools.branches --marks build/marks/$@

# The parts together run every branch that decides.
unit-tests: $(UNIT)
	@$(VENV)/bin/python -m tests.tools.branches $(UNIT:%=build/marks/%)

$(ON_SOCKETS): env
	@$(VENV)/bin/python -m pytest $(TESTS) --hypothesis-profile $(EXAMPLES)

path-tests: $(ON_SOCKETS)

# All parts at once, also where there are fewer cores: some wait while others compute.
check: env ## What takes seconds: linters, types, import contracts, unit tests (of every branch that decides) and path tests, beside each other
	@$(MAKE) --no-print-directory --jobs --output-sync lint unit-tests path-tests
	@$(TOOK)

# Each file starts programs of its own: two processes, and a file in one of them.
alone-tests: env
	@$(VENV)/bin/python -m pytest $(SOONER:%=tests/%) -n 2 --dist loadfile --durations=15

# Engines need all cores: one test after the other.
engine-tests: env
	@$(VENV)/bin/python -m pytest tests $(CHECKED:%=--ignore=tests/%) $(SOONER:%=--ignore=tests/%) --ignore=tests/multihost/test_faults.py --ignore=tests/apart --durations=40

# Each part runs also where one before it fails, so that one run tells all.
test: env ## What `check` does, what we rely on in vLLM and Ray, real engines end to end, and Maverick over fake hosts where the machine lends any
	@$(MAKE) --no-print-directory --jobs=1 --keep-going EXAMPLES=herd check alone-tests engine-tests
	@$(TOOK)

multihost: env ## `ray up` onto fake hosts, Maverick over two, containers on two, every shipped config in containers; an hour: as root, with openssh-server, iproute2, rsync, redis-server, docker.io, mmdebstrap
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
