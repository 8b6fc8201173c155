# The commands of a checkout. They run as root on Debian 12 with Rust and Go; `make` alone lists them.
#
# What is dear to build is kept in one folder, $ORLOP_CACHE or ~/.cache/orlop, and in cargo's and Go's own caches: the
# second time everything is quick. State of running clusters is below /var/lib/orlop.

# The programs that cargo builds. They are called by their paths, because `cargo run` of one package would compile the
# dependencies anew, with the features that this package alone wants of them.
BIN := $(or $(CARGO_TARGET_DIR),target)/debug

.DEFAULT_GOAL := help
.PHONY: help demo test setup build bed image bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: image ## Start a real cluster and watch a volume grow while it is being filled
	@$(BIN)/orlop demo

test: build ## Run every check and every test, from units to a real cluster
	@$(BIN)/xtask test

setup: ## Install the Debian packages that are missing
	@.ci/setup

build: setup ## Compile orlop and the build's own tools
	@echo "compiling orlop (the first time about 6 minutes on 2 cores)"
	@cargo build --workspace --bins

bed: build ## Compile Kubernetes and the CSI sidecars (the first time about 13 minutes on 2 cores)
	@$(BIN)/xtask bed

image: bed ## Write the images that a cluster on this machine runs
	@$(BIN)/xtask image

bench: image ## Measure, and print the tables of docs/performance.md
	@cargo bench --package orlop-planner --package orlop-sim --package orlop-backtest
	@$(BIN)/bench

clean: ## Remove the clusters on this machine and everything that was built
	@if [ -x $(BIN)/orlop ]; then $(BIN)/orlop down --all; fi
	@cargo clean
	@rm -rf "$${ORLOP_CACHE:-$$HOME/.cache/orlop}"
