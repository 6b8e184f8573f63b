# Every target installs what it needs and is safe to run again; on a fresh machine `make demo` is
# enough.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# The demo's cluster and volume. The tests use clusters named mynetwork-test… and other volumes.
CLUSTER := mynetwork
VOLUME := shared
VENV := .tools/venv/bin
PYTEST := $(VENV)/python -m pytest
# A conversion uses one CPU, and a machine has two or more. Some wait for a limit or a stall.
SIDE_BY_SIDE := -n 3 --dist worksteal
# The operator in these tests waits most of the time.
WAITING := -n 4 --dist worksteal
# How many conversions bench-operator measures. A list with commas cannot be an argument of $(or).
SIZES ?= 1000,4000,10000
# Here a part of the time goes to the API servers.
JUDGED := -n 3 --dist worksteal

.PHONY: help demo test env down tools cluster images release deploy plugin crds lint unit component judge converter e2e bench-engine bench-eta bench-operator bench-growth bench-namespaces pictures bench-page bench-rules bench-kind bench-scale bench-scale-10000 fuzz-converter faults chaos count-lines clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## create a kind cluster, install the operator, convert four sample files
	@hack/demo $(CLUSTER) $(VOLUME)

test: tools lint unit component judge bench-growth converter e2e ## run every test except the long ones (faults, chaos)

env: ## print the PATH and KUBECONFIG of the demo: eval "$$(make env)"
	@hack/env $(CLUSTER)

down: ## remove clusters, volumes with their files, images, kubeconfigs; keep the caches
	@hack/down

tools: ## install the pinned tools into .tools (Python environment, kind, kubectl)
	@hack/tools

cluster: tools ## create or repair the demo's kind cluster
	@hack/docker
	@hack/cluster up $(CLUSTER) $(VOLUME)

images: tools ## refresh the base image, build the images, load them into the demo's cluster
	@hack/docker
	@hack/base-image --refresh
	@hack/images $$(.tools/bin/kind get clusters 2>/dev/null | grep -x $(CLUSTER) || true)

release: tools ## write a release to dist/: images, SBOMs, chart, plugin (VERSION=0.2.0 REGISTRY=… URL=…)
	@hack/docker
	@hack/release "$(VERSION)" "$(REGISTRY)" "$(URL)"

deploy: cluster images ## install the CRD, the operator and the HTTP API into the demo's cluster
	@hack/deploy $(CLUSTER)

plugin: tools ## build the kubectl plugin into dist/, with a manifest for krew (VERSION=0.2.0 URL=…)
	@hack/plugin $(VERSION) $(URL)

crds: tools ## generate the CRD, the reference pages and the chart from code and deploy/
	@PYTHONPATH=operator:gateway:converter-module:. $(VENV)/python hack/generate.py .

pictures: tools ## make the pictures of the page and of the plugin for README.md
	@PYTHONPATH=operator:gateway:converter-module:client:plugin:. $(VENV)/python -m hack.pictures

lint: tools ## run ruff, mypy --strict, pyright, import-linter, deptry and shellcheck
	@hack/lint

unit: tools ## test pure functions, pages and manifests
	@hack/check-crds crds/*.yaml
	@hack/go-build helm >/dev/null
	@hack/go-build flux >/dev/null
	@$(PYTEST) tests/unit

component: tools ## test the operator against an API server in the test's process, with faults
	@hack/browser >/dev/null
	@hack/control-plane >/dev/null
	@hack/go-build helm >/dev/null
	@$(PYTEST) tests/component $(WAITING)

judge: tools ## run the judged component tests against a real kube-apiserver
	@hack/control-plane >/dev/null
	@hack/go-build helm >/dev/null
	@$(PYTEST) tests/component --real-api $(JUDGED)

converter: tools ## test the converter's image, with real ffmpeg and libvips
	@hack/docker
	@hack/images
	@$(PYTEST) tests/converter -m "not alone" $(SIDE_BY_SIDE)
	@$(PYTEST) tests/converter -m alone

e2e: tools ## test everything on a kind cluster (mynetwork-test, removed afterwards)
	@hack/browser >/dev/null
	@$(PYTEST) tests/e2e

bench-engine: tools ## compare the converter with plain commands; write docs/performance.md (long)
	@hack/docker
	@hack/images
	@PYTHONPATH=operator:converter-module:. $(VENV)/python benchmarks/bench_engine.py

bench-eta: tools ## measure the estimated end of running conversions; write docs/performance.md
	@hack/docker
	@hack/images
	@PYTHONPATH=operator:converter-module:. $(VENV)/python benchmarks/bench_eta.py

bench-operator: tools ## measure the operator alone with many conversions (SIZES=1000,4000,10000)
	@$(VENV)/python benchmarks/bench_operator.py --waiting $(SIZES)

bench-growth: tools ## check that the cost of a conversion does not grow with the queue
	@$(VENV)/python benchmarks/bench_operator.py --waiting 100,600 --parallel 10

bench-namespaces: tools ## measure the operator with 300 namespaces, named and all together
	@$(VENV)/python benchmarks/bench_namespaces.py

bench-page: tools ## measure pages of conversions with 5 000 and 20 000 objects
	@PYTHONPATH=operator:gateway:converter-module:. $(VENV)/python -m benchmarks.bench_page

bench-rules: tools ## measure what the CEL rules of the CRD cost a kube-apiserver
	@hack/control-plane >/dev/null
	@PYTHONPATH=operator:gateway:converter-module:. $(VENV)/python -m benchmarks.bench_rules

bench-kind: tools ## compare tiny conversions with plain Jobs, in real pods on a kind cluster
	@$(VENV)/python benchmarks/bench_kind.py

bench-scale: tools ## compare many conversions with plain Jobs, on simulated nodes (SIZE=1000)
	@$(VENV)/python benchmarks/bench_scale.py --size $(or $(SIZE),1000)

bench-scale-10000: tools ## the same with 10000 conversions (long)
	@$(MAKE) bench-scale SIZE=10000

fuzz-converter: tools ## convert 5000 mutated files with the converter's image (long)
	@hack/docker
	@hack/images
	@CONVERTER_FUZZ_FILES=5000 $(PYTEST) tests/converter/test_fuzz.py

faults: tools ## lose nodes, freeze operators, break connections, attack the HTTP API (long)
	@hack/docker
	@hack/images
	@hack/go-build cosign >/dev/null
	@hack/go-build velero >/dev/null
	@$(PYTEST) tests/faults

chaos: faults ## run faults, then 300 conversions while pods, nodes and the operator fail (long)
	@hack/chaos

count-lines: tools ## count lines of product code without comments, docstrings and blank lines
	@$(VENV)/python hack/count_lines.py

clean: down ## run down, and remove the caches: the next demo builds everything again
	@hack/clean
