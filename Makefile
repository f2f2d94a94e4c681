# `make` alone prints what there is. Everything is built under build/.

PYTHON ?= python3
VENV ?= build/venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
SOURCES := $(shell find cirron csrc -type f -not -name '*.pyc') pyproject.toml CMakeLists.txt
C_FILES := $(shell find csrc tests/native tests/fuzz benchmarks -name '*.[ch]' -o -name '*.cpp')

.DEFAULT_GOAL := help
.PHONY: help demo test test-native lint bench bench-cli bench-serving bench-gate bench-peers bench-training sanitize wheel docs format clean

help:
	@awk 'BEGIN {FS = ":.*## "} \
	  /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## See it work

demo: build/installed ## Train a small network on real digits and look at its trace
	@rm -rf build/demo && mkdir -p build/demo
	@cd build/demo && PATH="$(CURDIR)/$(BIN):$$PATH" sh $(CURDIR)/docs/examples/demo.sh

## Prove it

test: build/installed-test test-native ## Run every test
	$(BIN)/pytest

test-native: build/native/CMakeCache.txt ## Run the C tests, which need no interpreter
	@$(BIN)/cmake --build build/native --parallel
	@$(BIN)/ctest --test-dir build/native --output-on-failure

sanitize: build/tools ## Run the C tests under ASan, UBSan and TSan
	@for set in address,undefined thread; do \
	  $(BIN)/cmake -S . -B build/sanitize-$$set -G Ninja -DCIRRON_EXTENSION=OFF \
	    -DCIRRON_NATIVE_TESTS=ON -DCIRRON_SANITIZE=$$set \
	    -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja >build/sanitize.log || exit 1; \
	  $(BIN)/cmake --build build/sanitize-$$set --parallel || exit 1; \
	  $(BIN)/ctest --test-dir build/sanitize-$$set --output-on-failure || exit 1; \
	done

lint: build/installed-lint build/lint/CMakeCache.txt ## Check style and types, warnings as errors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy cirron
	cd build && venv/bin/stubtest cirron._core
	@$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	@$(BIN)/cmake --build build/lint --parallel

bench: build/installed-test ## Measure against a floor in the same run
	$(BIN)/python benchmarks

bench-cli: build/installed-test ## Measure `cirron traces` on a million spans, in cats
	$(BIN)/python benchmarks/cli.py

bench-serving: build/installed-test ## Measure requests: a server under load, calls, streams
	@command -v wrk >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  apt-get install -qq --no-install-recommends -y wrk >/dev/null; } || true
	$(BIN)/python benchmarks/serving.py

bench-gate: build/installed-test build/native/CMakeCache.txt ## Count instructions; fail where 1 % were added
	@CI=true sh .ci/system-packages
	@$(BIN)/cmake --build build/native --target core_loop
	$(BIN)/python benchmarks/gate build/native/core_loop

bench-training: build/installed-test ## Measure what the hooks add to training with PyTorch
	$(BIN)/python benchmarks/training.py

bench-peers: build/installed-test ## Install the other profilers, each on its own, and measure all
	$(BIN)/python benchmarks/peers.py
	@$(MAKE) --no-print-directory bench

## Ship it

wheel: build/tools ## Build the abi3 wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	@ls -l dist

docs: build/installed ## Write the tables of options in docs/cli from the program
	$(BIN)/python docs/cli/update_options.py

format: build/installed-lint ## Rewrite the sources in the house's style
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(C_FILES)

clean: ## Remove what was built
	rm -rf build dist

# ---- how things get there

build/tools: pyproject.toml
	@mkdir -p build
	@sh .ci/system-packages
	@echo "Setting up $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install 'pip>=25.1'
	@$(PIP) install --group build
	@touch $@

build/installed: build/tools $(SOURCES)
	@echo "Building cirron and installing it with pandas and scikit-learn ..."
	@$(PIP) install --no-build-isolation '.[pandas,sklearn]'
	@touch $@

build/installed-test: build/installed pyproject.toml
	@echo "Installing what the tests need ..."
	@$(PIP) install --group test
	@touch $@

build/installed-lint: build/installed-test
	@$(PIP) install --group lint
	@touch $@

build/native/CMakeCache.txt: build/tools CMakeLists.txt
	@$(BIN)/cmake -S . -B build/native -G Ninja -DCIRRON_EXTENSION=OFF -DCIRRON_NATIVE_TESTS=ON \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja >build/native.log
	@touch $@

build/lint/CMakeCache.txt: build/tools CMakeLists.txt
	@$(BIN)/cmake -S . -B build/lint -G Ninja -DCIRRON_NATIVE_TESTS=ON -DCIRRON_WERROR=ON \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja >build/lint.log
	@touch $@
