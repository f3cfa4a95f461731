# The verbs of this repository: "make" lists them.
#
# The root is a workspace (go.work) and no module: "go test work" spans all modules, "go test ./..." at the root fails.

GO       ?= go
FUZZTIME ?= 30s
LINT     := bin/golangci-lint
MODULES  = $(shell $(GO) list -m -f '{{.Dir}}')

# What Usher is made of, and what looks at it from outside.
PRODUCT := ./events/... ./pkg/... ./services/acceptance/... ./services/api/... ./services/mailer/... ./services/usher/...
OUTSIDE := ./deploy/composetest/... ./services/usher/bench/... ./services/usher/e2e/contract/...
E2E     := ./services/usher/e2e/... ./services/usher/e2e/browser/...
FAULTS  := ./services/usher/faults/...

# What is different in a build that lets itself be stopped between two steps.
FAILPOINTS := ./pkg/failpoint ./pkg/clock ./pkg/settings

.DEFAULT_GOAL := help
.PHONY: help up build test test-short e2e e2e-long lint fmt generate screenshots mails bench fuzz docker compose-test clean \
        faults faults-all evidence needs format-check alone unit outside faults-slice

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

up: ## run the whole pipeline in one process
	$(GO) run ./services/usher up

build: ## build all binaries into bin/
	$(GO) build -trimpath -o bin/ ./services/usher ./services/api/cmd/api ./services/mailer/cmd/mailer ./services/acceptance/cmd/acceptance

test: ## everything a change must pass; at the end, how long each part took
	@.ci/stages needs format-check alone lint unit outside e2e faults-slice

test-short: needs ## the tests alone, without the race detector and the long rounds; what did not change is not run again
	$(GO) test -short $(PRODUCT) $(OUTSIDE) $(E2E)

lint: $(LINT) ## the linters, over all modules
	$(LINT) run $(PRODUCT) $(OUTSIDE) $(E2E) $(FAULTS)
	$(LINT) run --build-tags failpoints $(FAILPOINTS)

fmt: ## format all Go files
	gofmt -w $(MODULES)

generate: ## write again what follows from the Go types: JSON Schemas, AsyncAPI document, settings in the README, refusals
	$(GO) -C events generate .
	$(GO) -C pkg test ./settings -update
	$(GO) -C pkg test ./platform -run '^TestTheDocumentationListsTheRefusalsAsTheyAre$$' -update

screenshots: needs ## take again the pictures that the README shows, in a real browser
	$(GO) test -count=1 -run '^TestPicturesOfTheREADME$$' ./services/usher/e2e/browser -update

mails: ## make the template of the mails again from its MJML, with npm, and check it against what mail programs show
	cd services/mailer/mail/mjml && npm ci --no-audit --no-fund && node build.mjs

bench: needs ## measure speed and memory, beside the machine's own rates; ARGS=-h tells more
	$(GO) run ./services/usher/bench $(ARGS)

faults: needs ## break Usher by a seed and judge what is left; ARGS='-part seeds -seed 17' repeats one, ARGS=-h tells more
	$(GO) run ./services/usher/faults $(ARGS)

faults-all: needs ## the whole fault campaign, going on where it was left; hours
	$(GO) run ./services/usher/faults
	@$(MAKE) --no-print-directory evidence

evidence: ## write what the fault campaign came to into docs/evidence.md
	$(GO) run ./services/usher/faults -evidence

fuzz: ## run each fuzz target for FUZZTIME (30s)
	@.ci/fuzz $(FUZZTIME) $(MODULES)

docker: ## build the images
	docker compose build

compose-test: ## the compose file in a real Docker engine: yours or, as root on Debian, a private one
	deploy/composetest/engine.sh $(GO) -C deploy/composetest test -tags engine -count=1 -timeout 60m -v .

e2e: needs ## the end-to-end suite, through real processes
	$(GO) test -count=1 -short -p 1 -timeout 15m $(E2E)

e2e-long: needs ## the same with all its rounds, and the race detector in the processes
	GOFLAGS=-race $(GO) test -count=1 -timeout 60m $(E2E)

clean: ## remove what was built
	rm -rf bin artefacts

# The other parts of "make test".

needs:
	@deploy/needs.sh

format-check: # "go fmt work" would match nothing and exit 0
	@wrong=$$(gofmt -l $(MODULES)); [ -z "$$wrong" ] || { echo "not formatted (make fmt):"; echo "$$wrong"; exit 1; }

# Each module by itself, as its image is built and outsiders import it: the workspace would hide what a go.mod lacks.
alone:
	@.ci/alone $(MODULES)

# Never cached: many tests read files of other modules, which the go command does not watch. Two packages at once, because
# each brings servers of its own.
unit: needs
	$(GO) test -race -count=1 -p 2 -timeout 10m $(PRODUCT)
	$(GO) test -tags failpoints -count=1 $(FAILPOINTS)

outside: needs
	$(GO) test -count=1 -timeout 10m $(OUTSIDE)

# A few units of every part of the campaign, and the tests of the means it is made with.
faults-slice: needs
	$(GO) test -count=1 -p 2 -timeout 10m $(FAULTS)
	$(GO) run ./services/usher/faults -slice

$(LINT): services/usher/tools/go.mod services/usher/tools/go.sum
	cd services/usher/tools && GOWORK=off $(GO) build -o $(CURDIR)/$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
