# make help says what there is. GOTESTFLAGS adds to every test run: make test GOTESTFLAGS=-v

GOLANGCI_LINT = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
ENGINE_ANSWERS = docker version >/dev/null 2>&1
GOTESTFLAGS ?=
BENCHFLAGS ?=
CHAOSFLAGS ?=
SEEDS ?= 200
FUZZTIME ?= 30s
FUZZ ?=

.DEFAULT_GOAL := help
.PHONY: help build test test-unit test-deploy test-bench test-integration \
	simulate patterns mutants fuzz bench lint generate check-generated python \
	kafka-image registry-image postgres-image docker demo compose-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/parley
	CGO_ENABLED=0 go build -trimpath -o bin/parley ./cmd/parley

test: test-unit test-deploy test-bench ## all tests; those on real Kafka where a Docker engine answers
	@if $(ENGINE_ANSWERS); then \
		$(MAKE) --no-print-directory test-integration; \
	else \
		echo "integration tests not run: no Docker engine (make docker installs one)"; \
	fi

# One CPU for each: where goroutines of a synctest bubble take fired timers on two, the race detector itself crashes
# (go.dev/issue/78156).
test-unit: ## unit tests with the race detector
	go test -race -cpu 1 -timeout 12m $(GOTESTFLAGS) ./...

# A module of its own, so that Prometheus' libraries stay out of the platform's.
test-deploy: ## dashboards and alert rules, with Prometheus' own engine on a live demo
	cd deploy && go test -timeout 6m $(GOTESTFLAGS) ./...

# A module of its own too, for its peers' libraries.
test-bench: ## the measuring program, in small
	cd bench && go test -timeout 6m $(GOTESTFLAGS) ./...

test-integration: python ## tests on real Kafka and a real registry, in containers
	go test -tags integration -count=1 -timeout 25m $(GOTESTFLAGS) ./integration/...

simulate: ## SEEDS=200 new simulations, and whether all mutants compile; prints the first seed, which replays them (docs/testing.md)
	go test ./streaming/streamtest -count=1 -v -timeout 20m -run '^TestSimulation$$|^TestMutantsFit$$' -compile -seeds $(SEEDS)

patterns: ## SEEDS=200 new simulations of each pattern by which agents coordinate: takes 15 minutes
	go test ./streaming/streamtest -count=1 -v -timeout 90m -run '^TestPatterns$$' -pattern-seeds $(SEEDS)

mutants: ## every seeded defect against the simulation's checkers: takes minutes
	go test ./streaming/streamtest -count=1 -v -timeout 60m -run Mutants -sample 0

fuzz: ## FUZZTIME=30s of each fuzz target, or of those that FUZZ='FuzzFrame FuzzHop' names; no input may cost more than 64 MiB (docs/testing.md)
	@for package in ./schemas ./streaming/telemetry; do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			case " $(FUZZ) " in "  "|*" $$target "*) ;; *) continue ;; esac; \
			echo "$$target, $(FUZZTIME)"; \
			go test $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -parallel 2 || exit 1; \
		done; \
	done

freezes: ## 200 workers frozen in mid-handler past their session and woken, on real Kafka (some minutes); FREEZES=n
	go test -tags integration -count=1 -timeout 20m -v -run TestFrozenInMidHandler ./integration -freezes $(or $(FREEZES),200) -freeze-cells 8

chaos: ## three brokers mistreated under load, the long form, about 25 minutes; CHAOSFLAGS='-run TestChaos/chain-exactly-once' makes a part, bin/chaos adds parts up
	go test -tags integration -count=1 -timeout 60m -v ./integration -run TestChaos $(CHAOSFLAGS) -chaos-long

bench: ## Parley beside its peers on real Kafka, all with GOGC=400 unless it is set; BENCHFLAGS='-rounds 3 -messages 100000 -json -brokers host:port'
	cd bench && go build -o ../bin/bench . && GOGC=$${GOGC:-400} ../bin/bench $(BENCHFLAGS)

lint: ## golangci-lint on all modules, integration tests included
	$(GOLANGCI_LINT) run --build-tags integration ./...
	cd deploy && $(GOLANGCI_LINT) run --build-tags integration ./...
	cd bench && $(GOLANGCI_LINT) run ./...

generate: ## generate Go types from the Avro schemas
	go generate ./...

check-generated: generate ## fail where generated files are not current
	git diff --exit-code

kafka-image: ## build parley/kafka where the public image cannot be pulled (FORCE=1 rebuilds)
	@images/kafka/build.sh

postgres-image: ## build parley/postgres likewise, from Debian's packages
	@images/postgres/build.sh

registry-image: ## build parley/apicurio-registry likewise
	@images/registry/build.sh

python: ## make bin/python, with the pinned clients that the tests of docs/python.md need (Python 3.11 to 3.14 with venv)
	@scripts/python.sh

docker: ## install and start a Docker engine where none answers (Debian, root)
	@scripts/install-docker.sh

demo: ## run the demo on the embedded broker
	go run ./cmd/parley demo

compose-check: ## check docker-compose.kafka.yml with the compose tool
	@scripts/check-compose.sh

clean: ## remove what was built, the demo's data, and containers that killed tests left
	rm -rf bin parley-data
	@if $(ENGINE_ANSWERS); then \
		docker ps --all --quiet --filter label=parley.integration | xargs -r docker rm --force --volumes; \
		docker network ls --quiet --filter label=parley.integration | xargs -r docker network rm; \
	fi
