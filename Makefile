# Everything a developer, a user of the demo and CI run. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

DEVCLUSTER := target/debug/devcluster
DEMO       := target/debug/demo
# The cluster suites get a cluster of their own, so that they never touch a running demo.
E2E_DIR    := .devcluster-e2e

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# --- the demo ---------------------------------------------------------------

.PHONY: demo
demo: binaries ## Cluster, Kafka, PostgreSQL, operator, one pipeline, two orders; leaves it running
	$(DEVCLUSTER) up
	$(DEVCLUSTER) load
	$(DEMO)

.PHONY: demo-down
demo-down: devcluster ## Remove every trace of the demo
	$(DEVCLUSTER) down

# --- build ------------------------------------------------------------------

.PHONY: devcluster
devcluster:
	cargo build --locked -p devcluster

.PHONY: prerequisites
prerequisites: devcluster ## Install what the build and the cluster need (as root), or name it
	$(DEVCLUSTER) prerequisites

.PHONY: build-prerequisites
build-prerequisites: devcluster
	$(DEVCLUSTER) prerequisites build

.PHONY: test-prerequisites
test-prerequisites: devcluster
	$(DEVCLUSTER) prerequisites tests

.PHONY: binaries
binaries: prerequisites
	cargo build --locked --workspace --bins

# What the images are called: `make images IMAGE_PREFIX=registry.example/orderpipeline IMAGE_TAG=1.0`.
IMAGE_PREFIX ?= orderpipeline
IMAGE_TAG    ?= dev

.PHONY: images
images: ## Build the images with Docker
	docker build -f operator/Dockerfile -t $(IMAGE_PREFIX)/operator:$(IMAGE_TAG) .
	docker build -f services/Dockerfile -t $(IMAGE_PREFIX)/orders:$(IMAGE_TAG) .

.PHONY: crds
crds: build-prerequisites ## Generate crds/ and docs/reference/ from the Rust types
	cargo run --locked -q -p operator --bin crdgen -- crds docs/reference

# What `make bench` is to do, such as BENCH_ARGS='--only orders --repeat 3'; --help tells more.
BENCH_ARGS ?=

# --- checks -----------------------------------------------------------------

.PHONY: lint
lint: build-prerequisites
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: check
check: lint ## Format, lints and pure tests: the fast part of `make test`
	cargo test --locked -q -p contract -p domain

# One after the other: side by side they are no sooner done, and orders miss their deadlines on a busy machine.
.PHONY: test
test: test-prerequisites lint test-units test-services test-faults e2e ## Everything that CI runs

# Always the whole workspace, and tests and binaries together: another selection means other features of the
# dependencies, and builds them again.
.PHONY: test-binaries
test-binaries: build-prerequisites
	cargo build --locked --workspace --bins --tests

.PHONY: test-units
test-units: test-binaries ## Tests that need nothing beside them
	cargo test --locked --workspace --lib

# Most tests wait for brokers, databases and processes rather than for a core: twice as many at a time as the two cores
# that they must do with.
TEST_THREADS ?= 4

.PHONY: test-services
test-services: test-prerequisites test-binaries ## Tests against a real broker, PostgreSQL, kube-apiserver and registry
	RUST_TEST_THREADS=$(TEST_THREADS) $(DEVCLUSTER) with kafka,postgres,apiserver,registry -- \
	  cargo test --locked --workspace --exclude e2e --exclude faults --test '*'

.PHONY: test-faults
test-faults: test-prerequisites test-binaries ## Each fault once: brokers, databases, networks and processes taken away under load
	$(DEVCLUSTER) with registry -- cargo test --locked --workspace --test faults

# Kind has a life cycle of its own.
E2E_SUITES ?= --test cluster --test lifecycle

.PHONY: e2e
e2e: prerequisites test-binaries ## The demo and the suites on a whole cluster, which it starts and removes
	trap '$(DEVCLUSTER) --dir $(E2E_DIR) down' EXIT; export DEVCLUSTER_DIR=$(E2E_DIR); \
	  $(DEVCLUSTER) --dir $(E2E_DIR) up && $(DEVCLUSTER) --dir $(E2E_DIR) load && $(DEMO) && \
	  cargo test --locked --workspace $(E2E_SUITES) -- --test-threads=1

.PHONY: e2e-faults
e2e-faults: binaries ## Faults at random under load for DURATION (20m), then the verdict; SEED repeats one, RATE is orders/s, FORMAT json or avro
	target/debug/faults

.PHONY: bench
bench: prerequisites ## Measure orders per second, latencies, the outbox and the operator (release build; leave the machine alone)
	cargo build --locked --release -p orders -p operator -p bench
	target/release/bench $(BENCH_ARGS)

.PHONY: deny
deny: ## Licences, duplicate and banned crates (needs cargo-deny)
	cargo deny --locked check bans licenses sources
