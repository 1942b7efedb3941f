#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs as init in a virtual machine made by run.py: tries hugexec on this kernel and prints a line a case:
# "ok NAME", "FAIL NAME: why", or "note ...". Then the machine is switched off.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
echo /bin/modprobe >/proc/sys/kernel/modprobe
for module in loop xfs crc32c xxhash64 btrfs erofs overlay; do modprobe -q $module; done
chmod 1777 /tmp
cd /tmp || exit 1
thp=/sys/kernel/mm/transparent_hugepage
echo "note kernel $(uname -r), THP $(cat $thp/enabled)"

grep -qw unit /proc/cmdline && . /unit.sh

# What takes more than busybox is tried in a system on a disk (system.py).
if grep -qw system /proc/cmdline; then
	mkdir /system
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ -e /dev/nvme0n1 ] && break
		sleep 1
	done
	mount -t ext4 /dev/nvme0n1 /system && exec switch_root /system /bin/sh /src/tests/kernels/system.sh
	echo "FAIL system: its disk cannot be mounted"
	poweroff -f
fi

# Emulated, all takes its time: no limit is to be what a case ends by.
cat >all.json <<'EOF'
{"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0, "follow": "none", "file_timeout": "60s", "hold_timeout": "60s"}]}
EOF
chmod 644 all.json

# The answer that expected.txt has for this kernel under NAME.
expected() {
	uname -r | awk -v name="$1" -v machine="$(uname -m)" '
		function number(version, part) { split(version, part, "."); return part[1] * 1000 + part[2] }
		FNR == NR { kernel = number($1); next }
		$1 == name || $1 == name "@" machine { answer = ""; for (i = 2; i < NF; i += 2) if (number($i) <= kernel) answer = $(i + 1) }
		END { print answer == "" ? "nothing-expected-of-" name : answer }' - /expected.txt
}

fail() { echo "FAIL $1: $2"; }

# try NAME BACKING EXPECTED COMMAND...: the same output and status as plain, and the expected word in the report:
# "remapped", or that of the reason why not.
try() {
	name=$1 backing=$2 expected=$3
	shift 3
	"$@" >out 2>err
	plain=$?
	mv out plain.out
	mv err plain.err
	: >report.json
	chmod 666 report.json
	# An emulated machine may be too slow for the time that a report may take: it says so, and is asked again.
	for _ in 1 2 3; do
		$as_user hugexec --policy="${policy:-all.json}" --report=report.json --backing="$backing" -- "$@" >out 2>err
		ours=$?
		grep -q "it takes nothing" err || break
	done
	mv out ours.out
	mv err ours.err
	if [ "$plain" != "$ours" ]; then
		fail "$name" "status $ours, plain $plain: $(head -c 300 ours.err)"
	elif ! cmp -s plain.out ours.out || ! cmp -s plain.err ours.err; then
		fail "$name" "output differs: $(diff plain.out ours.out | head -4 | tr '\n' ' ') $(head -c 200 ours.err)"
	elif [ "$expected" = remapped ] && ! grep -q '"outcome":"remapped"' report.json; then
		fail "$name" "$(cat report.json)"
	elif [ "$expected" != remapped ] && ! grep -qE "\"reason\":\"($expected)" report.json; then
		fail "$name" "$(cat report.json)"
	elif [ "$expected" = remapped ] && ! grep -qE "\"backing\":\"(${backing%,*}|${backing#*,})\"" report.json; then
		fail "$name" "$(cat report.json)"
	else
		echo "ok $name"
	fi
	as_user=
}

pages() { echo "$1" >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages; }

sed 's/"min_text": 0/"min_text": 0, "libraries": true/' all.json >libraries.json
chmod 644 libraries.json

# A kernel that gives its processes no vDSO: programs run as they are, and the report says why.
if grep -qw vdso=0 /proc/cmdline; then
	grep -q '\[vdso\]' /proc/self/maps && fail "no vDSO" "there is one"
	for program in bigtext-pie bigtext-static probe-pie; do
		try "no vDSO, thp $program" thp no-vdso /programs/$program
	done
	echo "done"
	poweroff -f
fi

if grep -qw security=selinux /proc/cmdline; then
	. /selinux.sh
	echo "done"
	poweroff -f
fi

# Base pages of 16 or 64 KiB.
[ "$(cat $thp/hpage_pmd_size)" = 2097152 ] || . /larger-pages.sh

thp_works=$(expected thp)
mkdir -p advise
mount -t tmpfs -o huge=advise,size=200M tmpfs advise && cp /programs/* advise/
if grep -qw launches /proc/cmdline; then
	. /launches.sh
	echo "done"
	poweroff -f
fi

policy=libraries.json
try "thp with libraries, probe-pie" thp "$thp_works" /programs/probe-pie
policy=
for program in bigtext-pie bigtext-static bigtext-static-pie probe-pie; do
	pages 16
	try "hugetlb $program" hugetlb "$(expected hugetlb)" /programs/$program
	pages 0
	for enabled in always madvise never; do
		echo $enabled >$thp/enabled
		try "thp $program, THP $enabled" thp "$thp_works" /programs/$program
	done
	echo madvise >$thp/enabled
done
try "hugetlb with an empty pool" hugetlb hugetlb-pool /programs/bigtext-pie
pages 2
try "hugetlb with a small pool" hugetlb hugetlb-pool /programs/bigtext-pie
pages 0

# hugetlb pages count as memory of the cgroup only where the system says so: Linux 6.6 can.
if echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir /sys/fs/cgroup/small; then
	pages 16
	echo 6M >/sys/fs/cgroup/small/memory.max # what the copy takes: three pages
	cat >in-small <<'EOF'
#!/bin/sh
echo $$ >/sys/fs/cgroup/small/cgroup.procs
exec "$@"
EOF
	chmod 755 in-small
	as_user=/tmp/in-small
	try "hugetlb, small memory cgroup" hugetlb remapped /programs/bigtext-static
	if mount -o remount,memory_hugetlb_accounting /sys/fs/cgroup 2>mount.err; then
		as_user=/tmp/in-small
		try "hugetlb, small memory cgroup that counts it" hugetlb memory-limit /programs/bigtext-static
		grep -q memory_hugetlb_accounting report.json || fail "hugetlb counted as memory" "$(cat report.json)"
	else
		echo "note no memory_hugetlb_accounting here: $(cat mount.err)"
	fi
	pages 0
else
	echo "note no memory cgroup here"
fi

# A page of 1 GiB, which the kernel was told at boot to set aside. The rest of the program's file is made here.
if [ "$(cat /sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages 2>/dev/null)" = 1 ]; then
	cp /programs/giga . && truncate -s 1G giga && printf Z | dd of=giga bs=1 seek=1073741823 conv=notrunc 2>/dev/null
	sed 's/"min_text": 0/"min_text": 0, "page_size": "1G"/' all.json >giga.json
	chmod 644 giga.json
	policy=giga.json
	try "hugetlb, a page of 1 GiB" hugetlb remapped /tmp/giga
	grep -q '"huge_bytes":1073741824' report.json && echo "ok all of it" || fail "all of it" "$(cat report.json)"
	policy=giga.json
	try "hugetlb, no slot of 1 GiB in the text" hugetlb no-huge-slot /programs/bigtext-pie
	policy=
	rm giga
else
	fail "a page of 1 GiB" "the kernel has none"
fi

# A kernel without MADV_COLLAPSE has huge pages for "thp" where shared memory may have them by a fault.
[ "$thp_works" = remapped ] || echo advise >$thp/shmem_enabled
try "thp, with shmem_enabled at $(cat $thp/shmem_enabled)" thp "$(expected thp-advised)" /programs/bigtext-pie

# The file backing. What this kernel cannot do must be refused with a reason, and the next backing serve.
file_works=$(expected file-tmpfs)
try "file on tmpfs huge=advise" file "$file_works" /tmp/advise/bigtext-pie
try "file on tmpfs huge=advise, static PIE" file "$file_works" /tmp/advise/bigtext-static-pie
try "file on tmpfs, the probe" file "$file_works" /tmp/advise/probe-pie
try "file, else thp, on the initramfs" "file,thp" remapped /programs/bigtext-pie
mkdir -p small && mount -t tmpfs -o huge=never,size=50M tmpfs small && cp /programs/bigtext-pie small/
: >report.json
hugexec --policy=all.json --report=report.json --backing=file -- /tmp/small/bigtext-pie >/dev/null
echo "note file on tmpfs huge=never: $(grep -oE '"outcome":"[a-z]*","reason":("[^"]*"|null)' report.json)"
. /filesystems.sh
[ -e /programs/registers-static ] && . /launches.sh

if [ -e /proc/sys/vm/memfd_noexec ]; then
	for level in 0 1 2; do
		echo $level >/proc/sys/vm/memfd_noexec
		try "thp, memfd_noexec $level" thp remapped /programs/bigtext-pie
		pages 16
		try "hugetlb, memfd_noexec $level" hugetlb remapped /programs/bigtext-pie
		pages 0
	done
else
	echo "note no vm.memfd_noexec here"
fi

# A profile that is enforced on the workload: it may run and read itself, and hugexec asks for nothing else. The probe
# prints its label, so it shows that the profile is in force.
profile() {
	cat <<END
profile workload $1 {
  $1 mr,
  /lib/** mr,
  /lib64/** mr,
  /usr/lib/** mr,
  /etc/ld.so.cache r,
  /dev/** rw,
  /tmp/** rw,
  / r,
  /**/ r,
  @{PROC}/** r,
  capability,
  signal,
  $2
}
END
}
enforced() {
	profile "$1" "$2" | sed 's,@{PROC},/proc,' >loaded
	apparmor_parser --replace --skip-cache loaded 2>parser.err
}

# under PROFILE COMMAND...
under() {
	confined_by=$1
	shift
	sh -c "printf 'exec %s' $confined_by >/proc/self/attr/exec && exec \"\$@\"" sh "$@"
}

# A profile from which a program goes over to one of its own: the kernel refuses that while somebody traces whose profile may not trace the other.
transitions() {
	cp /programs/bigtext-pie profiled
	cp /programs/bigtext-pie inheriting
	for name in confining docker-default; do
		cat <<END
profile $name {
  file,
  capability,
  signal,
  unix,
  network,
  ptrace peer=$name,
  /tmp/profiled px -> profiled,
}
END
	done >loaded
	echo "profile profiled { file, capability, signal, ptrace peer=profiled, }" >>loaded
	apparmor_parser --replace --skip-cache loaded 2>parser.err || fail "AppArmor profiles" "$(head -c 200 parser.err)"
	sed 's/, "follow": "none"//' all.json >follow.json
	chmod 644 follow.json
	policy=follow.json
	as_user="under confining"
	try "AppArmor, a profile of its own" thp "exec-failed: .*, while traced: Permission denied" /tmp/profiled
	as_user="under confining"
	try "AppArmor, a profile of its own, behind a shell" thp "unprivileged-wrapper: AppArmor confines us by confining" sh -c "exec /tmp/profiled exit 9"
	as_user="under docker-default"
	try "AppArmor, a container's profile, behind a shell" thp remapped sh -c "exec /tmp/inheriting exit 9"
	policy=
}
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
if [ -e /sys/kernel/security/apparmor/profiles ] && [ -e /bin/apparmor_parser ]; then
	for rules in "ptrace," "deny ptrace,"; do
		if ! enforced /programs/probe-pie "$rules"; then
			fail "AppArmor profile" "$(head -c 200 parser.err)"
			continue
		fi
		try "thp, AppArmor enforced ($rules)" thp remapped /programs/probe-pie
		grep -q 'workload (enforce)' plain.out || fail "AppArmor, thp" "the profile is not in force"
	done
	# AppArmor asks about hugetlb files, whose path leads nowhere, though not about other memory files.
	pages 16
	try "hugetlb, AppArmor enforced: refused" hugetlb not-permitted /programs/probe-pie
	try "hugetlb else thp, AppArmor enforced" hugetlb,thp remapped /programs/probe-pie
	grep -q 'workload (enforce)' plain.out || fail "AppArmor, hugetlb" "the profile is not in force"
	pages 0
	mkdir -p confined && mount -t tmpfs -o huge=advise,size=100M tmpfs confined && cp /programs/probe-pie confined/
	enforced /tmp/confined/probe-pie "ptrace," && try "file, AppArmor enforced" file "$file_works" /tmp/confined/probe-pie
	grep -q 'workload (enforce)' plain.out || fail "AppArmor, file" "the profile is not in force"
	umount confined
	transitions
else
	echo "note no AppArmor here"
fi

# A program that runs: it works on, and notices nothing.
attach() {
	/programs/busy work >busy.out &
	busy=$!
	while ! grep -q ready busy.out; do sleep 0.1; done
	hugexecctl attach --json --policy=all.json --backing="$1" $busy >report.json
	huge=$(grep -c memfd: /proc/$busy/maps)
	sleep 0.3
	kill -TERM $busy
	wait $busy
	status=$?
	answer=$(expected attach)
	[ "$answer" = remapped ] && copies=1 || copies=0
	if [ $status = 0 ] && [ "$huge" = "$copies" ] && grep -q '^ok: ' busy.out && grep -qE "\"outcome\":\"$answer\"|\"reason\":\"$answer:" report.json; then
		echo "ok attach, $1"
	else
		fail "attach, $1" "status $status, $(tail -1 busy.out), $(cat report.json)"
	fi
}
attach thp
pages 16
attach hugetlb

# A program that has sealed its text (mseal, Linux 6.10) is left alone, and told apart from one that may not be changed.
/programs/bigtext-static seal >sleeper.out &
sleeper=$!
while ! grep -q ready sleeper.out; do sleep 0.1; done
hugexecctl attach --json --policy=all.json --backing=hugetlb $sleeper >report.json
sealed=$(expected attach-sealed)
grep -qE "\"outcome\":\"$sealed|\"reason\":\"$sealed" report.json && [ -d /proc/$sleeper ] && echo "ok attach, sealed text" ||
	fail "attach, sealed text" "$(cat report.json)"
kill $sleeper
wait $sleeper 2>/dev/null
pages 0

# The readers: they work here, and their filter kills them for what they must not do.
: >report.json
hugexec --policy=all.json --report=report.json --backing=thp -- /programs/bigtext-pie >/dev/null
grep -qE '"build_id":"[0-9a-f]{40}"' report.json && echo "ok the reader finds a build id" || fail "reader" "$(cat report.json)"
for crime in open socket exec fork exec-memory; do
	for reader in elf bundle; do
		sh -c "hugexec-$reader-reader \$\$ $crime 3</programs/bigtext-pie 4>/dev/null; exit \$?" 2>/dev/null
		status=$?
		[ $status = 159 ] && echo "ok the $reader reader is killed for: $crime" || fail "$reader reader, $crime" "status $status instead of SIGSYS"
	done
done
# And what the bundle reader does for its living is allowed: its answer ends with names and values.
echo '{"annotations":{"a":"b"}}' >config.json
told=$(sh -c "hugexec-bundle-reader \$\$ hooks /hook 3<config.json 4>&1; exit \$?" | tail -c 4 | tr '\0' .)
[ "$told" = a.b. ] && echo "ok the bundle reader answers" || fail "bundle reader" "$told"

# hugexecd, for those whom Yama forbids to trace. The first who asks starts it, which may last in an emulated machine.
systemd-socket-activate --seqpacket --listen=/tmp/helper.sock hugexecd --policy=/tmp/all.json --idle=0 2>/dev/null &
helper=$!
ask_helper() {
	export HUGEXEC_HELPER=/tmp/helper.sock
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		chmod 666 /tmp/helper.sock 2>/dev/null || { sleep 1; continue; }
		: >report.json
		chmod 666 report.json
		$nobody hugexec --policy=all.json --report=report.json --backing=thp -- /programs/bigtext-pie >/dev/null 2>&1
		grep -q remapped report.json && break
		sleep 1
	done
	as_user=$nobody
	try "thp, Yama scope $level, nobody, through hugexecd" thp remapped /programs/bigtext-pie
	as_user=$nobody
	try "file, Yama scope $level, nobody, through hugexecd" file "$file_works" /tmp/advise/bigtext-pie
	export HUGEXEC_HELPER=off
}

# Last, because scope 3 is there to stay.
export HUGEXEC_HELPER=off
scope=/proc/sys/kernel/yama/ptrace_scope
if [ -e $scope ]; then
	nobody="/bin/setpriv --reuid=65534 --regid=65534 --clear-groups"
	for level in 0 1 2 3; do
		echo $level >$scope
		case $level in
		0 | 1) for_nobody=remapped for_root=remapped ;;
		2) for_nobody=ptrace-refused for_root=remapped ;;
		3) for_nobody=ptrace-refused for_root=ptrace-refused ;;
		esac
		try "thp, Yama scope $level, root" thp "$for_root" /programs/bigtext-pie
		as_user=$nobody
		try "thp, Yama scope $level, nobody" thp "$for_nobody" /programs/bigtext-pie
		[ $level = 2 ] && ask_helper
	done
else
	echo "note no Yama here"
fi
kill $helper
wait $helper 2>/dev/null

# shellcheck disable=SC2009 # busybox has no pgrep -a
left=$(ps -o pid,stat,args | grep '[h]ugexec')
[ -z "$left" ] && echo "ok nothing is left" || fail "nothing is left" "$left"
echo "done"
poweroff -f
