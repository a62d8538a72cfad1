# Each target sets up what it needs first and says what it installs.

BIN := .venv/bin
PYTEST := $(BIN)/pytest -n auto --dist loadscope

# Tests start Python thousands of times: with its modules compiled, as an installed program has them.
unexport PYTHONDONTWRITEBYTECODE

SLOW := cluster/test_cluster.py boot/test_attach.py boot/test_busybox.py boot/test_container.py boot/test_drift.py boot/test_login.py \
	boot/test_network_managers.py boot/test_openrc.py boot/test_overlay.py boot/test_root_formats.py boot/test_running.py boot/test_selinux.py \
	cli/test_machines.py content drills fuzz hostile powercut torture

FUZZ_EXAMPLES ?= 20000

BENCH := nothing boot vms fleets nodes tarball squashfs crowded digest overlay formats scale disk_image clusters work_disk synced terminal

.DEFAULT_GOAL := help
.PHONY: help demo test quick check powercut torture fuzz bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: ## build and boot a VM from examples/vms/demo and show each command with its output (under two minutes)
	@tools/setup demo
	@tools/demo

test: ## everything: lint, types, all tests, Debian and busybox machines booted under QEMU
	@tools/setup test
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m compileall -q bangerbuild
	$(PYTEST)

quick: ## a few minutes: no apt, no drills, no power cuts, and of the machines only test_boot's are booted
	@tools/setup quick
	@$(MAKE) --no-print-directory check
	$(PYTEST) $(addprefix --ignore=tests/,$(SLOW))

check:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

powercut: ## run on from 10,000 states that a power cut may leave; make test looks at 200 of each scene
	@tools/setup test
	$(BIN)/python -m tests.powercut

torture: ## ten minutes of commands on one store at once, killed, stopped and interrupted, while guests write
	@tools/setup test
	$(BIN)/python -m tests.torture

fuzz: ## damage input of every format for about an hour; make test looks at a few examples of each
	@tools/setup test
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/pytest -n auto -q tests/fuzz

bench: ## the benchmark programs; figures for this machine
	@tools/setup test
	@failed=0; for program in $(BENCH); do $(BIN)/python -m bench.$$program || failed=1; done; exit $$failed

clean: ## remove what was built; .venv and .cache (the Debian tarballs) stay
	rm -rf build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
