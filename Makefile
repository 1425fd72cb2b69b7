# Everything a person or CI does here. `make` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CONFIG ?= config.yaml
SLUICE := .build/release/sluice
# STRICT=1 makes warnings errors; CI does.
SWIFTFLAGS := $(if $(STRICT),-Xswiftc -warnings-as-errors)
# The same seed walks the same way in every process.
export SWIFT_DETERMINISTIC_HASHING := 1
# Under a sanitizer everything takes several times as long: shorter walks, the same ground.
SANITIZED := SLUICE_SCHEDULES=$${SLUICE_SCHEDULES:-60} SLUICE_FUZZ_FILES=$${SLUICE_FUZZ_FILES:-200}
# No code of these runs in more than one thread.
SINGLE_THREADED := Configuration HTTP1 Matching
# Nor does any of these touch memory but through arrays and the like, whose bounds are checked anyway.
PURE := HTTP1 Matching
# A sanitizer takes its own share of time: what is measured under it says nothing.
MEASURED := --skip ConfigurationTests.ScaleTests
# An executable that exports no symbols is 0.6 MB smaller; nothing looks them up.
RELEASEFLAGS := --configuration release --static-swift-stdlib -Xlinker --no-export-dynamic --product sluice

# The container engine, and what the image is called. BUILD_IMAGE and RUNTIME_IMAGE replace the bases
# that the Dockerfile names, say by a mirror's.
ENGINE ?= docker
IMAGE ?= sluice:latest
IMAGEFLAGS = --build-arg VERSION="$$(sed -n 's/^public let productVersion = "\(.*\)"/\1/p' \
    Sources/Command/SluiceCommand.swift)" \
  --build-arg REVISION="$$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)" \
  $(foreach base,BUILD_IMAGE RUNTIME_IMAGE,$(if $($(base)),--build-arg $(base)="$($(base))"))

.PHONY: help
help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: release ## Build and run the proxy with config.yaml (CONFIG=FILE for another)
	@command -v nc >/dev/null || scripts/install.sh run || \
	  echo "no nc here; to try the proxy, use another program that opens TCP connections"
	exec $(SLUICE) run --config $(CONFIG)

.PHONY: build
build: ## Build for debugging
	@scripts/install.sh build
	swift build $(SWIFTFLAGS)

.PHONY: release
release: ## Build the program that ships: .build/release/sluice
	@scripts/install.sh build
	swift build $(SWIFTFLAGS) $(RELEASEFLAGS)

.PHONY: test
test: ## Run the tests
	@scripts/install.sh build
	swift test $(SWIFTFLAGS)

.PHONY: test-thread test-address
test-thread: ## Run the tests under the thread sanitizer, but for those of targets that have one thread
	@scripts/install.sh build
	$(SANITIZED) swift test $(SWIFTFLAGS) --disable-xctest $(foreach target,$(SINGLE_THREADED),--skip $(target)Tests) \
	  --sanitize=thread --scratch-path .build-thread
test-address: ## Run the tests under the address sanitizer, but for those of pure targets
	@scripts/install.sh build
	$(SANITIZED) swift test $(SWIFTFLAGS) --disable-xctest $(MEASURED) $(foreach target,$(PURE),--skip $(target)Tests) \
	  --sanitize=address --scratch-path .build-address

.PHONY: lint
lint: ## Check formatting and style of all sources, scripts, YAML and the Dockerfile
	@scripts/install.sh lint
	scripts/lint.sh

.PHONY: format
format: ## Format the sources
	swift format --in-place --recursive Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/Sources Benchmarks/Picks

.PHONY: image image-test
image: ## Build the container image sluice:latest (IMAGE=NAME, ENGINE=podman)
	@command -v $(ENGINE) >/dev/null || { echo "make image needs a container engine: no $(ENGINE) here" >&2; exit 69; }
	$(ENGINE) build $(IMAGEFLAGS) --tag $(IMAGE) .
image-test: image ## Run the image: not root, read-only, no capabilities, drained when stopped, under 100 MB
	ENGINE=$(ENGINE) scripts/image-test.sh $(IMAGE)

.PHONY: stop-test
STOP ?= docker systemd
stop-test: release $(if $(filter docker,$(STOP)),image) ## docker stop and systemctl stop under load lose no session (STOP=systemd for one)
	@scripts/install.sh $(if $(filter systemd,$(STOP)),stop,acceptance)
	$(if $(filter docker,$(STOP)),ENGINE=$(ENGINE) scripts/stop-under-load.py docker $(IMAGE))
	$(if $(filter systemd,$(STOP)),scripts/stop-under-load.py systemd)

.PHONY: interop
interop: release ## Real programs through the proxy: redis, PostgreSQL, nginx, iperf3, openssl (QUICK=1)
	scripts/interop.sh

.PHONY: check-servers
check-servers: release ## Health checks against real servers: Redis, PostgreSQL, MariaDB, Exim, OpenSSL, nginx
	@scripts/install.sh checks
	scripts/check-servers.py

.PHONY: acceptance
acceptance: release ## Transfers, resets, idle memory, chaos, failover, reloads, logs, … (ONLY="idle reset")
	@scripts/install.sh acceptance
	scripts/acceptance/run.py $(ONLY)

.PHONY: ends-compare
ends-compare: release ## How sessions end through Sluice, HAProxy and nginx; fails where Sluice delivers less
	@scripts/install.sh acceptance bench
	scripts/ends-compare.py

.PHONY: drill
drill: release ## Endpoints are killed, stopped, closed, made to reset: no session may fail for a connect (QUICK=1)
	@scripts/install.sh acceptance
	scripts/drill.py

.PHONY: check-schema
check-schema: ## The JSON Schema and the decoder agree on generated documents
	SWIFTFLAGS='$(SWIFTFLAGS)' scripts/check-schema.sh

.PHONY: check-unit
check-unit: ## deploy/sluice.service: systemd has no complaint, and its exposure is low
	scripts/check-unit.sh

.PHONY: check-prometheus
check-prometheus: ## Others can read the metrics, and each alert fires when it should
	SWIFTFLAGS='$(SWIFTFLAGS)' scripts/check-prometheus.sh

.PHONY: bench bench-calls
bench: release ## Costs beside HAProxy, nginx and Envoy; fails where a mark is missed (QUICK=1, BENCH="--case NAME --plots")
	@scripts/install.sh bench
	swift build $(filter-out --product sluice,$(RELEASEFLAGS)) --product bench-picks --quiet
	scripts/bench/run.py $(BENCH)
bench-calls: release ## System calls per message, session and GB, of Sluice and of the others
	@scripts/install.sh bench
	scripts/bench/run.py calls $(BENCH)

.PHONY: instructions
instructions: release ## Instructions per message, per session and to read a route; fails above what they were (COUNT="--with perf")
	@scripts/install.sh instructions
	scripts/instructions.py $(COUNT)

.PHONY: bench-streams
bench-streams: ## CPU per message of the event loop's streams beside asyncio and uvloop; fails above 0.70 of uvloop (QUICK=1)
	@scripts/install.sh build bench-streams
	scripts/bench-streams.py

.PHONY: fuzz
fuzz: release ## Long walks: mutated configurations, random schedules, chaotic clients (FILES=N SCHEDULES=N)
	SWIFTFLAGS='$(SWIFTFLAGS)' scripts/fuzz.sh

.PHONY: schema
schema: ## Write deploy/sluice.schema.json and the tables of docs/configuration.md anew
	UPDATE_GENERATED=1 swift test --filter ConfigurationTests

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf .build .build-* Benchmarks/.build
