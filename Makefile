# make demo        the whole story on a real API server, told with real programs; then it is yours to play with
# make demo-down   ends what the demo left running
# make test        all of Sluice, on a real API server: what every change should pass. Minutes
# make test-all    all tests: beside Helm, Argo CD, Flux, Prometheus and Feldera's clients, upgrades, each crash point; AFTER_TEST=1 leaves out what make test has
# make image       the operator's image, with no container engine; PUSH=REGISTRY/sluice:0.2.0 pushes it
# make bench       figures of the operator, as it is shipped; BENCH="scale --pipelines 1000" for one of them
#
# All of them build what they need, say so, and keep it: in target/, and in ${XDG_CACHE_HOME:-~/.cache}/sluice
# (etcd and Kubernetes, built from source: 7 minutes on two cores, once per machine; for test-all also Helm, Argo CD, Flux,
# Prometheus, Feldera's fda and the last release of Sluice: half an hour).
# Needed beforehand: Rust, Go, Python 3 and a C compiler. `make check-tools` says whether they will do.

CARGO ?= cargo
XTASK = $(or $(CARGO_TARGET_DIR),target)/debug/xtask

.PHONY: help demo demo-down test test-all bench image build build-programs check-tools

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: build-programs
	@$(XTASK) demo

# What was started can be ended also while the tree doesn't compile.
demo-down:
	@test -x $(XTASK) || $(MAKE) build-programs
	@$(XTASK) demo down

test: build
	@$(XTASK) test

test-all: build
	@$(XTASK) test $(if $(AFTER_TEST),--rest,--all)

bench: build
	@$(XTASK) bench $(BENCH)

image: build
	@$(XTASK) image $(if $(PUSH),--push $(PUSH))

# Each selection has all packages: with other ones cargo would choose other features of the libraries, and compile them
# again. That the tests don't change any is seen to in xtask/Cargo.toml, and tried by xtask/tests/features.rs.
build: check-tools
	@echo "Building Sluice, its tools and its tests with cargo, what has changed since the last time."
	$(CARGO) build --workspace --all-targets --locked

build-programs: check-tools
	@echo "Building Sluice and its tools with cargo, what has changed since the last time."
	$(CARGO) build --workspace --bins --locked

check-tools:
	@sh xtask/check-tools.sh
