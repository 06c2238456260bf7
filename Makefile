# What people and CI run. `make` alone lists the targets.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
# Lint and tests are of everything that can be built in; what is released leaves it out.
ALL := --features kafka

.PHONY: help run demo dni test bench bench-ping bench-outage lint soak stress release bench-sip fuzz deps

help: ## This list.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: ## Serve examples/loopback.toml, or CONFIG=FILE: SIP on port 5060, API on 8080.
	$(CARGO) run --release -- serve --config $(or $(CONFIG),examples/loopback.toml)

demo: ## Six calls told from ping to record, on loopback; then the server stays up.
	$(CARGO) run --release -- demo

dni: ## The script for pages that is served, of the one that is read.
	$(CARGO) run --quiet --locked --manifest-path scripts/minify/Cargo.toml -- \
	  src/api/dni/dni.js src/api/dni/dni.min.js

deps: ## What the tests need besides Rust (root or sudo).
	scripts/install-test-deps.sh

lint: ## Formatting and clippy; a warning is an error.
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked $(ALL) -- -D warnings
	$(CARGO) clippy --locked -- -D warnings

# What became of limits under faults, a line for each cell.
CELLS := $(or $(CARGO_TARGET_DIR),target)/tmp/limits-under-faults.txt

# The integration tests come last, so that the last line is their verdict; before it stand the cells of
# the table of faults. They replay the fuzz corpus and run sipp-scenarios/; most of their time is
# waiting, hence four at once.
test: deps lint ## Everything CI checks.
	$(CARGO) test --locked $(ALL) --lib --bins
	$(CARGO) test --locked $(ALL) --doc
	rm -f $(CELLS)
	$(CARGO) test --locked $(ALL) --test it -- --test-threads=4 | awk -v cells=$(CELLS) \
	  '/^test result:/ { verdict = $$0; next } { print; fflush() } \
	   END { if (verdict) { system("sort " cells); print verdict } }'

bench: ## Micro-benchmarks.
	$(CARGO) bench --locked --bench message --bench routing --bench holds --bench sessions --bench decision

bench-ping: ## 5,000 pings a second (RATE) for a minute (SECONDS), beside the HTTP stack alone.
	$(CARGO) bench --locked --bench ping

bench-outage: ## 500 calls (CALLS) and 2,000 pings (PINGS) a second while Redis is killed and comes back.
	scripts/install-test-deps.sh
	OUTAGE=1 $(CARGO) bench --locked --bench ping

soak: ## Crashes (TOLLBRIDGE_CRASH_ROUNDS, 200), limits under faults, pings, steady calls (SOAK_MINUTES, 60).
	TOLLBRIDGE_CRASH_ROUNDS=$${TOLLBRIDGE_CRASH_ROUNDS:-200} \
	  $(CARGO) test --locked $(ALL) --test it crash -- --nocapture
	TOLLBRIDGE_HOLD_SECONDS=$${TOLLBRIDGE_HOLD_SECONDS:-60} \
	  $(CARGO) test --locked $(ALL) --test it holds::history -- --nocapture --test-threads=1
	TOLLBRIDGE_PING_SOAK_SECONDS=$${TOLLBRIDGE_PING_SOAK_SECONDS:-3600} \
	  $(CARGO) test --locked $(ALL) --test it ping_soak -- --nocapture
	scripts/install-test-deps.sh --bench
	$(CARGO) build --release --locked
	benches/sip/stress.py --soak $${SOAK_MINUTES:-60}

stress: ## Three times too many calls, and 50,000 junk messages a second.
	scripts/install-test-deps.sh --bench
	$(CARGO) build --release --locked
	benches/sip/stress.py $(or $(ARGS),--overload --junk 50000)

release: ## The binary to ship, target/dist/tollbridge: compiled with the profile of a run.
	scripts/install-test-deps.sh --bench
	scripts/release.sh

bench-sip: ## Calls through tollbridge and through Kamailio on this machine, in turn.
	$(MAKE) release
	BENCH_BINARY=target/dist/tollbridge benches/sip/bench.py $(ARGS)

# There is no unsafe code that a sanitizer could find fault with. What is found goes to fuzz/target,
# not among the chosen files of the corpus.
fuzz: ## A minute on each fuzz target (cargo-fuzz, nightly); SECONDS_EACH=N for longer.
	for target in fuzz/fuzz_targets/*.rs; do \
	  name="$$(basename "$$target" .rs)"; mkdir -p "fuzz/target/corpus/$$name"; \
	  $(CARGO) +nightly fuzz run -s none "$$name" "fuzz/target/corpus/$$name" "fuzz/corpus/$$name" \
	    -- -max_len=8192 -max_total_time=$${SECONDS_EACH:-60}; \
	done
