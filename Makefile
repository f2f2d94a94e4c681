# `make` alone prints what there is. Everything is built under build/.

PYTHON ?= python3
VENV ?= build/venv
SECONDS ?= 60
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
SOURCES := $(shell find cirron csrc -type f -not -name '*.pyc') pyproject.toml CMakeLists.txt
COVERED := --root . --filter csrc/core/ --exclude-throw-branches \
  --exclude-branches-by-pattern '\s*assert\('
C_FILES := $(shell find csrc tests/native tests/fuzz tests/faults benchmarks -name '*.[ch]' -o -name '*.cpp')

.DEFAULT_GOAL := help
.PHONY: help demo test test-native test-interpreters life soak faults fuzz sanitize \
  sanitize-python coverage lint bench bench-cli bench-serving bench-training bench-gate \
  bench-peers wheel docs format clean

help:
	@awk 'BEGIN {FS = ":.*## "} \
	  /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## See it work

demo: build/installed ## Train a small network on real digits and look at its trace
	@rm -rf build/demo && mkdir -p build/demo
	@cd build/demo && PATH="$(CURDIR)/$(BIN):$$PATH" sh $(CURDIR)/docs/examples/demo.sh

## Prove it

test: build/installed-test test-native ## Run every test
	$(BIN)/pytest

test-interpreters: build/tools ## Run the tests with one wheel on CPython 3.11, 3.12 and 3.13
	.ci/test-interpreters

life: build/installed-test ## Forks, exits, pools and servers, a thousand of each
	@$(PIP) install --group servers
	LIFE=full $(BIN)/pytest tests/integration/test_process_*.py

soak: build/installed-test ## Random work for MINUTES (10), checked against a model
	$(BIN)/python tests/soak/soak.py --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

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

sanitize-python: build/installed-test ## Run the tests of the extension under ASan and UBSan
	@sh tests/sanitized/run $(BIN) build/sanitized

fuzz: build/installed-test build/fuzz/CMakeCache.txt ## Fuzz every reader and writer for SECONDS=60 in all
	@$(PIP) install --group fuzz
	@$(BIN)/cmake --build build/fuzz --parallel 2
	$(BIN)/python tests/fuzz/run.py build/fuzz --seconds $(SECONDS)

coverage: build/tools ## Say which lines and branches of core the C tests reach
	@$(PIP) install --group coverage
	@$(BIN)/cmake -S . -B build/coverage -G Ninja -DCIRRON_EXTENSION=OFF -DCIRRON_NATIVE_TESTS=ON \
	  -DCIRRON_COVERAGE=ON -DCMAKE_BUILD_TYPE=Debug \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja >build/coverage.log
	@$(BIN)/cmake --build build/coverage --parallel
	@find build/coverage -name '*.gcda' -delete
	@$(BIN)/ctest --test-dir build/coverage --output-on-failure >>build/coverage.log
	$(BIN)/gcovr $(COVERED) build/coverage
	$(BIN)/gcovr $(COVERED) --txt-metric branch build/coverage

faults: build/installed-test ## Fail each call to the system in turn, and look at what becomes of a program
	$(BIN)/python tests/faults/sweep.py

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

bench-training: build/installed-test ## Measure what the hooks add to training, framework by framework
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/frameworks.py

bench-peers: build/installed-test ## Install the other profilers, each on its own, and measure all
	$(BIN)/python benchmarks/peers

## Ship it

wheel: build/tools ## Build the manylinux abi3 wheel into dist/ and try it
	@$(PIP) install --group wheel
	@rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/wheel .
	$(BIN)/abi3audit --strict build/wheel/*.whl
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir build/wheel/repaired \
	  build/wheel/*.whl
	.ci/check-wheel build/wheel/repaired/*.whl
	@mkdir -p dist && cp build/wheel/repaired/*.whl dist
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

build/fuzz/CMakeCache.txt: build/tools CMakeLists.txt
	@sh .ci/fuzz-packages
	@CC=clang CXX=clang++ $(BIN)/cmake -S . -B build/fuzz -G Ninja -DCIRRON_EXTENSION=OFF \
	  -DCIRRON_FUZZ=ON -DCIRRON_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Debug \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja >build/fuzz.log
	@touch $@

build/lint/CMakeCache.txt: build/tools CMakeLists.txt
	@$(BIN)/cmake -S . -B build/lint -G Ninja -DCIRRON_NATIVE_TESTS=ON -DCIRRON_WERROR=ON \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja >build/lint.log
	@touch $@
