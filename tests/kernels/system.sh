#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs as init of the system that system.py makes, in place of guest.sh: what that cannot try because it takes Python and container
# runtimes. Prints lines of the same kind.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
export HUGEXEC_BUILD=/build HUGEXEC_PROGRAMS=/tmp/programs FAULT_TOOLS=/build/faults PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
# On a filesystem that has huge pages for a file on every kernel.
mount -t tmpfs -o huge=advise,mode=1777 tmpfs /tmp
cp -a /programs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "note kernel $(uname -r), $(python3 --version), $(runc --version | head -1), $(crun --version | head -1)"
cd /src || exit 1

# Each call of hugexec's fails, and each injected one, as many as fit; the same must be seen as without.
seconds=$(sed -n 's/.*fault_seconds=\([0-9]*\).*/\1/p' /proc/cmdline)
modes="thp;file;file, static PIE;hugetlb;thp, rounded out;libraries, thp;through a script;through hugexecd;hugexecd itself;the hook, thp;the runtime"
python3 tests/faults/run.py /build quick "$seconds" "$modes" >/run/faults 2>&1
status=$?
sed -n 's/^\(\(faults\|memory\), .*, 0 results differ\)$/ok \1/p; s/^\(\(faults\|memory\), .* results differ\)$/FAIL \1/p; s/^\(DIFFERENT .*\)$/note \1/p; s/^\(passed over.*\)/note \1/p; s/^    /note     /p' /run/faults
[ $status = 0 ] && echo "ok the fault run came to its end" || echo "FAIL the fault run: status $status: $(tail -12 /run/faults | cut -c1-200 | tr '\n' '|')"

# pytest WORDS...: a line a test.
pytest() {
	python3 -m pytest -p no:cacheprovider -q -rA --tb=short -W ignore "$@" >/run/pytest 2>&1
	status=$?
	sed -n 's,^PASSED tests/,ok ,p; s,^\(FAILED\|ERROR\) tests/,FAIL ,p; s,^SKIPPED ,note passed over ,p' /run/pytest
	grep -q '^FAILED\|^ERROR' /run/pytest && sed -n 's/^E /note &/p' /run/pytest | head -40
	[ $status -le 1 ] || echo "FAIL pytest $*: status $status: $(tail -5 /run/pytest | tr '\n' '|')"
}
# The hook, in containers of runc and crun, with smaps.
pytest tests/oci/test_hook.py -k "same_as_without and not musl or text_is_huge or containers_own or walls and thp or ended_while_it_waits or tracer_killed"
# Tests that compile nothing, and take no time for granted that an emulator does not have.
for topic in fail_open no_huge_pages reaper signals commands let_go privileges probe; do
	pytest tests/integration/test_$topic.py -k "not [file and not memory_cgroup_limit and not is_as_fast and not ended_at_any_moment"
done

echo "done"
busybox poweroff -f
