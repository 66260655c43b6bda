# make demo        the whole story on a real API server, told with real programs; then it is yours to play with
# make demo-down   ends what the demo left running
# make test        all tests
# make image       the operator's image, with no container engine; PUSH=REGISTRY/sluice:0.2.0 pushes it
# make bench       figures of the operator, as it is shipped; BENCH="scale --pipelines 1000" for one of them
#
# All of them build what they need, say so, and keep it: in target/, and in ${XDG_CACHE_HOME:-~/.cache}/sluice
# (etcd, Kubernetes, Helm, Argo CD, Flux, Prometheus, Feldera's fda and the last release of Sluice, built from source:
# about half an hour on two cores, once per machine).
# Needed beforehand: Rust, Go, Python 3 and a C compiler. `make check-tools` says whether they will do.

CARGO ?= cargo
XTASK = $(or $(CARGO_TARGET_DIR),target)/debug/xtask

.PHONY: help demo demo-down test bench image build check-tools

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: build
	@$(XTASK) demo

# What was started can be ended also while the tree doesn't compile.
demo-down:
	@test -x $(XTASK) || $(MAKE) build
	@$(XTASK) demo down

test: build
	@$(XTASK) test

bench: build
	@$(XTASK) bench $(BENCH)

image: build
	@$(XTASK) image $(if $(PUSH),--push $(PUSH))

# One selection of packages and targets for everything: with another one cargo would choose other features
# of the libraries, and compile them again.
build: check-tools
	@echo "Building Sluice, its tools and its tests with cargo, what has changed since the last time."
	$(CARGO) build --workspace --all-targets --locked

check-tools:
	@sh xtask/check-tools.sh
