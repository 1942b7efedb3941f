# SPDX-License-Identifier: Apache-2.0
# A thin front: meson builds, tests/run-checks tests. On a fresh Debian 12, as root, `make demo` and `make check` need
# nothing else done before.
BUILD ?= build
TIME ?= 60
PREFIX ?= /usr
SYSCONFDIR ?= /etc

help:
	@echo 'make demo         build, run prometheus plain and under hugexec, print what changed'
	@echo 'make check        build, run every test, with sanitizers and analyzers too (a quarter of an hour)'
	@echo 'make check-quick  the unit and integration tests of the plain build (five minutes)'
	@echo 'make check-systemd  units of a systemd that is booted for it; make systemd-table: the table in docs/systemd.md'
	@echo 'make check-debian13  unit, integration and systemd tests in a root of Debian 13 that is made for it'
	@echo 'make fuzz         the fuzzers, each for TIME seconds (60)'
	@echo 'make check-faults  every failure of every system call of hugexec'\''s'
	@echo 'make check-mutations  break the code on purpose, promise by promise, and see the tests fail (half an hour)'
	@echo 'make coverage     all tests on a build that counts, and how many lines they run'
	@echo 'make soak         20,000 launches, 12 at once, under memory pressure; 1,000 containers'
	@echo 'make check-everything  every program of this machine, plain and under hugexec'
	@echo 'make bench        what hugexec costs here, as ratios (ten minutes); make bench-docs puts it into README.md and docs/'
	@echo 'make bench-itlb   what huge pages bring named processors'\'' instruction TLBs, simulated: docs/itlb.md (five minutes)'
	@echo 'make bench-itlb-arm64   the same of Debian'\''s programs for arm64 and the TLBs of Neoverse processors (fifteen minutes)'
	@echo 'make bench-rodata  what "rodata" brings TLBs for data, simulated: docs/backings.md (three minutes)'
	@echo 'make bench-gain   servers and a compiler in real time, plain, as TiExec and under hugexec, with intervals (ten minutes)'
	@echo 'make bench-entropy  how random the base of a rebased program is, from 10,000 starts'
	@echo 'make build        only build, into $(BUILD); says which packages are missing'
	@echo 'make install      install below $$DESTDIR$(PREFIX); your policy is in $(SYSCONFDIR)/hugexec; units go where systemd looks'
	@echo 'make dist         the last commit'\''s source as $(BUILD)/dist/hugexec-VERSION.tar.gz, the same bytes each time, and SHA256SUMS'
	@echo 'make deb          Debian packages of the last commit in $(BUILD)/deb; make rpm: RPMs in $(BUILD)/rpm'
	@echo 'make deb-arm64    the same for arm64 in $(BUILD)/deb-arm64, cross-built in a root that is made for it'
	@echo 'make check-packages  install, upgrade, remove and purge them in roots of Debian 12 and 13, and services of Debian with them'
	@echo 'make uninstall    remove what make install has installed; enabled services start without hugexec from then on'
	@echo 'make deps         install the packages that building needs; make check-deps adds those of the tests'
	@echo 'make clean        remove what the above have built'
	@echo 'Targets that test install packages that are missing, with apt-get and as root; otherwise they name them.'

# What building needs; check-deps adds what the tests need. Installed with apt where it is missing and we are root.
deps:
	@tests/deps build
check-deps:
	@tests/deps build test

build:
	@tests/deps missing build
	@test -e $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX) --sysconfdir=$(SYSCONFDIR)
	@grep -qF '"$(PREFIX)/bin"' $(BUILD)/config.h && grep -qF '"$(SYSCONFDIR)/hugexec"' $(BUILD)/config.h || \
		meson configure $(BUILD) -Dprefix=$(PREFIX) -Dsysconfdir=$(SYSCONFDIR)
	@ninja -C $(BUILD)

demo: deps build
	@tests/get-programs $(BUILD)/programs prometheus
	@HUGEXEC_BUILD=$(BUILD) python3 tests/demo

# Everything: unit tests, integration tests, both again with sanitizers and faults, analyzers, formatting.
check: check-deps
	@tests/run-checks

# The first two of these only.
check-quick: check-deps
	@tests/run-checks unit integration

# Units of a real systemd; the table of sandboxes in docs/systemd.md is made of what its tests find out.
check-systemd: check-deps
	@tests/run-checks systemd
systemd-table: check-deps
	@HUGEXEC_BUILD=$(BUILD) /usr/bin/python3 -m pytest -p no:cacheprovider -q --timeout=300 tests/systemd/test_sandbox.py
	@/usr/bin/python3 tests/systemd/table.py $(BUILD)

# hugexec on other kernels, in qemu; part of check.
check-kernels: check-deps
	@tests/run-checks kernels

# Pods in a cluster of etcd, API server, scheduler, controllers, kubelet and containerd 2, and the plugin with CRI-O. Not part of check:
# Kubernetes and CRI-O are built for it once, which takes half an hour.
check-kubernetes: check-deps build
	@tests/kubernetes/get-programs $(BUILD)/programs
	@HUGEXEC_BUILD=$(BUILD) /usr/bin/python3 -m pytest -p no:cacheprovider -q -rs --timeout=600 tests/kubernetes tests/oci/test_nri_engines.py

# hugexec for arm64, cross-built, on kernels that qemu emulates. Not part of check: it takes some minutes.
check-arm64: check-deps
	@tests/deps arm64
	@/usr/bin/python3 tests/kernels/arm64.py $(BUILD)

# Unit, integration and systemd tests in a root of Debian 13, with its compiler, libraries and systemd. Not part of check: the root takes 1.5 GiB
# and some minutes to be made.
check-debian13: deps
	@tests/other-debian trixie

# Every fuzzer for TIME seconds.
fuzz: check-deps
	@FUZZ_SECONDS=$(TIME) FUZZ_SEED= tests/run-checks fuzz

# Every system call of hugexec's fails once, with each error that it can return.
check-faults: check-deps
	@FAULT_SECONDS=all tests/run-checks faults

# Break each promise's code on purpose: its test must fail.
check-mutations: check-deps build
	@tests/deps arm64
	@/usr/bin/python3 tests/mutations/run.py all

# Which lines of shim/ and oci-hook/ all tests together run.
coverage: check-deps
	@tests/get-programs $(BUILD)/programs
	@tests/coverage/run

# 20,000 launches, 12 at once, under memory pressure.
soak: check-deps build
	@/usr/bin/python3 tests/soak/run.py $(BUILD)
	@HUGEXEC_BUILD=$(BUILD) /usr/bin/python3 tests/soak/containers.py

# Every program of this machine, and some large ones for longer, plain and under hugexec.
check-everything: check-deps build
	@tests/deps everything
	@tests/get-programs $(BUILD)/programs
	@/usr/bin/python3 tests/everything/run.py $(BUILD)
	@/usr/bin/python3 tests/everything/large_programs.py $(BUILD)

bench: check-deps build
	@HUGEXEC_BUILD=$(BUILD) /usr/bin/python3 tests/bench/bench.py
	@/usr/bin/python3 tests/bench/chart.py $(BUILD)/bench/results.json $(BUILD)/bench/bench.svg

# The same, and its figures into README.md, docs/design.md and docs/bench.svg: on a machine that does nothing else.
bench-docs: bench
	@/usr/bin/python3 tests/bench/docs.py $(BUILD)/bench/results.json
	@git -c safe.directory='*' diff --stat -- README.md docs

# Real programs under QEMU, each processor's TLBs under each way of huge text; makes the tables and picture of docs/itlb.md.
bench-itlb: check-deps build
	@/usr/bin/python3 tests/bench/itlb/run.py $(BUILD)

# The same of programs for arm64, which are fetched and unpacked below $(BUILD); makes the second part of docs/itlb.md.
bench-itlb-arm64: check-deps build
	@tests/deps arm64
	@/usr/bin/python3 tests/bench/itlb/run.py $(BUILD) --arm64

# The TLBs for data under "rodata"; makes the tables of docs/backings.md.
bench-rodata: check-deps build
	@/usr/bin/python3 tests/bench/itlb/run.py $(BUILD) --rodata

# Real time on this machine, paired and interleaved; it prints the interval, whatever that is.
bench-gain: build
	@tests/deps test
	@tests/get-programs $(BUILD)/programs
	@tests/get-programs $(BUILD)/programs mariadb-client
	@HUGEXEC_BUILD=$(BUILD) /usr/bin/python3 tests/bench/gain.py

# 10,000 starts of a rebased program; fails below 24 bits.
bench-entropy: deps build
	@HUGEXEC_BUILD=$(BUILD) /usr/bin/python3 tests/bench/entropy.py

install: build
	@meson install -C $(BUILD) --no-rebuild

# As a package does it: systemd reloads without what hugexec-generator makes, before the programs go.
uninstall:
	@test -n "$(DESTDIR)" || sh $(BUILD)/config/leave-units
	@ninja -C $(BUILD) uninstall
	@test -n "$(DESTDIR)" || { rm -rf /run/hugexec /var/cache/hugexec; test ! -d /run/systemd/system || systemctl daemon-reload; }

# By git and with no time but the commit's: who has the commit can make the same file and compare.
dist:
	@rm -rf $(BUILD)/dist && mkdir -p $(BUILD)/dist
	@git -c safe.directory='*' diff --quiet HEAD || echo 'What is not committed is left out.' >&2
	@source=$$PWD name=hugexec-$$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build) && cd $(BUILD)/dist && \
		git -c safe.directory='*' -C "$$source" -c tar.umask=0022 archive --format=tar --prefix=$$name/ HEAD >$$name.tar && \
		gzip -9n $$name.tar && sha256sum $$name.tar.gz >SHA256SUMS && cat SHA256SUMS

# The same source and versions of the tools make the same packages.
deb: deps dist
	@config/packages/build deb $(BUILD)/deb $(BUILD)/dist/hugexec-*.tar.gz
# For arm64, in a root of this Debian with the cross compiler, which is made once: $(BUILD)/deb-arm64-root.
deb-arm64: dist
	@config/packages/build deb $(BUILD)/deb-arm64 $(BUILD)/dist/hugexec-*.tar.gz arm64
rpm: deps dist
	@config/packages/build rpm $(BUILD)/rpm $(BUILD)/dist/hugexec-*.tar.gz

# Packages and Debian's own services in a systemd that is booted in roots of Debian 12 and 13. Not part of check: each root takes
# 1.5 GiB and some minutes to be made, and is kept in /var/tmp/hugexec-packages.
check-packages: check-deps
	@tests/deps packages
	@tests/run-checks packages

clean:
	rm -rf $(BUILD) build-asan build-analyze build-beside build-fuzz build-coverage build-mutations

.NOTPARALLEL:
.PHONY: help deps check-deps build demo check check-quick check-systemd systemd-table check-kernels check-arm64 check-kubernetes check-debian13 fuzz check-faults check-mutations check-everything coverage soak bench bench-docs bench-itlb bench-rodata bench-itlb-arm64 bench-gain bench-entropy install uninstall dist deb deb-arm64 rpm check-packages clean
