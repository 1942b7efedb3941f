# A thin front: meson builds, tests/run-checks tests. On a fresh Debian 12, as root, `make demo` and `make check` need
# nothing else done before.
BUILD ?= build
PREFIX ?= /usr

all: build

# What building needs; "make deps-test" adds what the tests need. Installed with apt where it is missing and we are root.
deps:
	@tests/deps build
deps-test:
	@tests/deps build test

build: deps
	@test -e $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX)
	@ninja -C $(BUILD)

demo: build
	@tests/get-programs $(BUILD)/programs prometheus
	@HUGEXEC_BUILD=$(BUILD) python3 tests/demo

# Everything: unit tests, integration tests, both again with sanitizers and faults, analyzers, formatting.
check: deps-test
	@tests/run-checks

# The first two of these only.
check-quick: deps-test
	@tests/run-checks unit integration

# hugexec on other kernels, in qemu; part of check.
check-kernels: deps-test
	@tests/run-checks kernels

bench: build
	@tests/deps test
	@HUGEXEC_BUILD=$(BUILD) /usr/bin/python3 tests/bench/bench.py
	@/usr/bin/python3 tests/bench/chart.py $(BUILD)/bench/results.json $(BUILD)/bench/bench.svg

install: build
	@meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD) build-asan build-analyze

.PHONY: all deps deps-test build demo check check-quick check-kernels bench install clean
