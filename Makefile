# The commands of a checkout. They run as root on Debian 12 with Rust and Go; `make` alone lists them.
#
# What is dear to build is kept in one folder, $ORLOP_CACHE or ~/.cache/orlop, and in cargo's and Go's own caches: the
# second time everything is quick. State of running clusters is below /var/lib/orlop.

.DEFAULT_GOAL := help
.PHONY: help demo test setup build bed image bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: image ## Start a real cluster and watch a volume grow while it is being filled
	@cargo run --quiet --package orlop -- demo

test: setup ## Run every check and every test, from units to a real cluster
	@cargo xtask test

setup: ## Install the Debian packages that are missing
	@.ci/setup
	@echo "compiling the build's own tools (the first time about 2 minutes)"
	@cargo build --package xtask

build: setup ## Compile the orlop program
	@echo "compiling orlop (the first time about 5 minutes on 2 cores)"
	@cargo build --package orlop

bed: setup ## Compile Kubernetes and the CSI sidecars (the first time about 13 minutes on 2 cores)
	@cargo xtask bed

image: bed build ## Write the images that a cluster on this machine runs
	@cargo xtask image

bench: image ## Measure, and print the tables of docs/performance.md
	@cargo bench --package orlop-planner
	@cargo run --quiet --package orlop-e2e --bin bench

clean: ## Remove the clusters on this machine and everything that was built
	@orlop="$${CARGO_TARGET_DIR:-target}/debug/orlop"; if [ -x "$$orlop" ]; then "$$orlop" down --all; fi
	@cargo clean
	@rm -rf "$${ORLOP_CACHE:-$$HOME/.cache/orlop}"
