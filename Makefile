# Usher's verbs. "make" lists them.

MODULES := events pkg services/acceptance services/api services/mailer services/usher \
           services/usher/bench services/usher/e2e services/usher/e2e/contract
LINT    := bin/golangci-lint
FUZZTIME ?= 30s

.DEFAULT_GOAL := help

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

up: ## run the whole pipeline in one process
	go run ./services/usher up

build: ## build every binary into bin/
	go build -o bin/ ./services/usher ./services/api/cmd/api ./services/mailer/cmd/mailer ./services/acceptance/cmd/acceptance

test: needs fmt-check vet lint alone unit e2e ## every test: formatting, vet, linters, all modules, end to end

test-short: needs ## all modules, without linters and without the race detector
	@for m in $(MODULES); do (cd $$m && go test -count=1 -short ./...) || exit 1; done

# The drift checks (schemas, AsyncAPI, README) read files of other modules, which Go's test cache does not see: -count=1.
unit: needs ## the tests of every module but the end-to-end suite, with the race detector
	@for m in $(filter-out services/usher/e2e,$(MODULES)); do \
		echo "== $$m"; (cd $$m && go test -count=1 -race -short -timeout 20m ./...) || exit 1; done

e2e: needs ## the end-to-end suite, through real processes
	cd services/usher/e2e && go test -count=1 -short -timeout 30m .

e2e-long: needs ## the end-to-end suite with all its rounds
	cd services/usher/e2e && go test -count=1 -timeout 60m .

fmt: ## format
	gofmt -w $(MODULES)

fmt-check:
	@bad=$$(gofmt -l $(MODULES)); if [ -n "$$bad" ]; then echo "not formatted (make fmt):"; echo "$$bad"; exit 1; fi

vet:
	go vet work

lint: $(LINT) ## the linters
	@for m in $(MODULES); do echo "== lint $$m"; (cd $$m && $(CURDIR)/$(LINT) run --allow-parallel-runners ./...) || exit 1; done

$(LINT): services/usher/tools/go.mod
	cd services/usher/tools && GOWORK=off go build -o $(CURDIR)/$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# Each module builds without the workspace, as an image or an outsider builds it.
alone:
	@for m in $(filter-out services/usher/bench services/usher/e2e services/usher/e2e/contract,$(MODULES)); do \
		(cd $$m && GOWORK=off go build ./...) || exit 1; done

generate: ## write schemas, AsyncAPI document and the README's settings anew
	cd events && GOWORK=off go generate .
	cd pkg && go test ./settings -update

bench: needs ## measure; prints a table, with the machine's own rates beside it
	cd services/usher/bench && go run .

fuzz: ## run each fuzz target for FUZZTIME (30s)
	@for m in $(MODULES); do (cd $$m && for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do echo "== $$p $$f"; go test -run xxx -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done) || exit 1; done

docker: ## build the images
	docker compose build

needs: ## install what the tests need, where the system's package manager may
	@sh deploy/needs.sh

clean: ## remove what was built
	rm -rf bin artefacts

.PHONY: help up build test test-short unit e2e e2e-long fmt fmt-check vet lint alone generate bench fuzz docker needs clean
