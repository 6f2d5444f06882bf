# Two commands do everything on a fresh machine with Go and make:
#   make run     start the cache, with no configuration
#   make test    install what the tests need, and run all of them
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X main.version=$(VERSION)
BIN       := bin/registry-cache
LINT      := bin/golangci-lint
LINT_VERSION := v2.15.0

.PHONY: build run test unit e2e lint fuzz tools bench bench-tools image clean help

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## build the static binary, bin/registry-cache
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/registry-cache

run: build ## start the cache on http://localhost:8443, data under ./data
	REGISTRYDIR=$${REGISTRYDIR:-data} RUNDIR=$${RUNDIR:-data/run} \
	LISTEN_ADDR=$${LISTEN_ADDR:-127.0.0.1:8443} METRICS_ADDR=$${METRICS_ADDR:-127.0.0.1:9090} \
	exec $(BIN) serve

test: tools lint unit e2e ## install what the tests need, then run everything

tools: ## install the Debian packages that the tests use, when missing and allowed
	./e2e/install-tools

lint: $(LINT) ## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l .)" || { echo "gofmt these files:"; gofmt -l .; exit 1; }
	go vet ./...
	$(LINT) run ./...

$(LINT):
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

# The race detector needs a C compiler; without one the tests still run.
RACE := $(shell command -v gcc >/dev/null 2>&1 && echo -race)

unit: ## unit tests, with the race detector
	go test $(RACE) -timeout 10m $$(go list ./... | grep -v /e2e)

e2e: ## real processes, real registries, real clients
	go test -count=1 -p 1 -timeout 15m ./e2e/...

FUZZTIME ?= 30s
fuzz: ## run every fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r f; do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$f"); do \
	    go test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$f")"; done; done

# What is measured, how often, the size of the largest blob, and how many blobs
# the store has that is cleaned. Only a run of all rows of a section rewrites its
# table in the document.
BENCH  ?= .
ROUNDS ?= 5
GIANT  ?= 4GiB
BLOBS  ?= 1000000
bench: bench-tools ## measure beside nginx and haproxy + docker-registry, write docs/BENCHMARKS.md; BENCH='Hit/Blob' measures a part
	go test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 60m ./bench \
	  -rounds $(ROUNDS) -giant $(GIANT) -blobs $(BLOBS) -doc $(CURDIR)/docs/BENCHMARKS.md

bench-tools:
	./e2e/install-tools nginx:nginx-light haproxy:haproxy docker-registry:docker-registry

# The OCI image format has no HEALTHCHECK.
image: ## build the container image with podman
	podman build --format docker --build-arg VERSION=$(VERSION) -t registry-cache -f Containerfile .

clean: ## remove what was built; the store under ./data stays
	rm -rf bin
