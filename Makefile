# Every target can be repeated, and brings what it needs: `make demo` on a fresh machine is enough.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# The demo's; the tests' are called mynetwork-test… and have volumes of their own.
CLUSTER := mynetwork
VOLUME := shared
VENV := .tools/venv/bin
PYTEST := $(VENV)/python -m pytest
# A conversion has one CPU, a machine two or more.
SIDE_BY_SIDE := -n 2 --dist worksteal

.PHONY: help demo test down tools cluster images deploy crds lint unit component converter e2e bench-engine fuzz-converter faults chaos clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## fresh machine to four conversions of real media on a kind cluster
	@hack/demo $(CLUSTER) $(VOLUME)

test: tools lint unit component converter e2e ## every test but the long runs (faults, chaos)

down: ## remove what demo and tests made: clusters, volumes, kubeconfigs (caches stay: make clean)
	@hack/down

tools: ## bring the pinned tools into .tools (Python environment, kind, kubectl)
	@hack/tools

cluster: tools ## the demo's kind cluster, healthy
	@hack/docker
	@hack/cluster up $(CLUSTER) $(VOLUME)

images: tools ## build the operator's and the converter's image, and load them into the demo's cluster
	@hack/docker
	@hack/images $$(.tools/bin/kind get clusters 2>/dev/null | grep -x $(CLUSTER) || true)

deploy: cluster images ## install CRD and operator into the demo's cluster
	@hack/deploy $(CLUSTER)

crds: tools ## write the CRD and the reference pages made from the code
	@PYTHONPATH=operator:gateway:converter-module $(VENV)/python hack/generate.py .

lint: tools ## ruff, mypy --strict, import-linter, shellcheck
	@hack/lint

unit: tools ## pure functions
	@$(PYTEST) tests/unit

component: tools ## the operator against an API server in this process, with faults
	@$(PYTEST) tests/component $(SIDE_BY_SIDE)

converter: tools ## the converter's image, with real ffmpeg and libvips
	@hack/docker
	@hack/images
	@$(PYTEST) tests/converter -m "not alone" $(SIDE_BY_SIDE)
	@$(PYTEST) tests/converter -m alone

e2e: tools ## the operator on a real kind cluster (mynetwork-test, gone afterwards), with real media
	@$(PYTEST) tests/e2e

bench-engine: tools ## compare the converter with the plain commands (long; writes docs/performance.md)
	@hack/docker
	@hack/images
	@PYTHONPATH=operator:converter-module:. $(VENV)/python hack/bench_engine.py

fuzz-converter: tools ## 5 000 mutated files through the converter's image (long)
	@hack/docker
	@hack/images
	@CONVERTER_FUZZ_FILES=5000 $(PYTEST) tests/converter/test_fuzz.py

faults: tools ## nodes drained and lost, operators frozen, connections that lie, on two workers (long)
	@$(PYTEST) tests/faults

chaos: faults ## the faults, then 300 conversions while operator, pods, Jobs, nodes … are hurt (long)
	@hack/chaos

clean: down ## down, and also the caches: the next demo builds everything again
	@hack/clean
