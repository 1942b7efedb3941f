# SPDX-License-Identifier: Apache-2.0
# What a program sees of its launch, on a processor for which the integration tests cannot run. Part of guest.sh.

sed 's/, "follow": "none"//' all.json >follow.json
chmod 644 follow.json
for words in "exit 9" abort "again 3" "loop 5" unlink; do
	cp /programs/bigtext-pie once && chmod 755 once
	# shellcheck disable=SC2086 # words
	if [ "$words" = unlink ]; then
		: >report.json
		hugexec --policy=all.json --report=report.json --backing=thp -- ./once unlink >out 2>err
		status=$?
		[ $status = 0 ] && grep -q remapped report.json && echo "ok bigtext unlink" || fail "bigtext unlink" "status $status: $(cat out err report.json)"
	else
		try "bigtext $words" thp "$thp_works" /programs/bigtext-pie $words
	fi
done
policy=follow.json
try "behind a shell and env" thp "$thp_works" /bin/sh -c 'exec env A=1 /programs/probe-pie'
try "a script" thp "$thp_works" /programs/script
policy=

# A signal that comes from outside ends it as it ends a plain one.
: >report.json
hugexec --policy=all.json --report=report.json --backing=thp -- /programs/bigtext-pie sleep >sleeper.out 2>/dev/null &
sleeper=$!
while ! grep -q ready sleeper.out; do sleep 0.1; done
grep -q 'r-xp.*memfd:' /proc/$sleeper/maps && echo "ok it runs from the copy" || fail "it runs from the copy" "$(grep r-xp /proc/$sleeper/maps)"
huge=$(awk '/^ShmemPmdMapped|^FilePmdMapped|^AnonHugePages/ { sum += $2 } END { print sum }' /proc/$sleeper/smaps)
[ "$huge" -ge 4096 ] && echo "ok smaps counts $huge kB on huge pages" || fail "smaps" "$huge kB"
children=$(cat /proc/$sleeper/task/$sleeper/children 2>/dev/null)
[ -z "$children" ] && echo "ok it has no children" || fail "children" "$children"
kill -HUP $sleeper
wait $sleeper
status=$?
[ $status = 129 ] && echo "ok ended by a signal" || fail "ended by a signal" "status $status"

# Registers at the first instruction: after exec, at the entry point, and where the tracer is the child that is reaped there. Only those
# in which the ABI promises nothing may differ: x1 to x4 and x8 (the last call's), x9 and x14 to x17 (the stub's).
# registers NAME POLICY MAY-DIFFER PROGRAM
registers() {
	fixed="setarch $(uname -m) -R"
	$before $fixed "$4" >plain.out
	: >report.json
	$before $fixed hugexec --policy="$2" --report=report.json --backing=thp -- "$4" >ours.out 2>err
	status=$?
	differ=$(for file in plain.out ours.out; do od -An -v -tx8 -w8 $file >$file.hex; done
		paste plain.out.hex ours.out.hex | awk -v may=" $3 " '$1 != $2 && !index(may, " x" NR - 1 " ") { print "x" NR - 1, $1, $2 }')
	if [ $status = 7 ] && [ -z "$differ" ] && grep -q remapped report.json && [ "$(wc -c <ours.out)" = 256 ]; then
		echo "ok registers, $1"
	else
		fail "registers, $1" "status $status: $differ $(cat err report.json)"
	fi
}
call="x1 x2 x3 x4 x8"
stub="x9 x14 x15 x16 x17"
registers "static" all.json "$call" /programs/registers-static
registers "dynamic" all.json "$call" /programs/registers-dynamic
registers "dynamic, with libraries" libraries.json "$call $stub" /programs/registers-dynamic
before=/programs/ignoring
registers "static, SIGCHLD ignored" all.json "" /programs/registers-static
before="unshare --fork --pid --mount-proc"
registers "dynamic, with libraries, as PID 1" libraries.json "$call $stub" /programs/registers-dynamic
before=

# Text that can be branched to at landing pads only (BTI) stays so: "bt" in smaps, of every mapping of 2 MiB and more.
guards() {
	awk '/^[0-9a-f]+-/ { text = $2 == "r-xp" } /^Size:/ { big = $2 >= 2048 } /^VmFlags:/ && text && big { print (/ bt/ ? "bt" : "none") }' "/proc/$1/smaps" | sort -u
}
# guarded NAME BACKING POLICY PROGRAM...
guarded() {
	name=$1 backing=$2 policy=$3
	shift 3
	"$@" >sleeper.out &
	plain=$!
	: >report.json
	hugexec --policy="$policy" --report=report.json --backing="$backing" -- "$@" >ours.out 2>err &
	ours=$!
	while ! grep -q ready sleeper.out || ! grep -q ready ours.out; do
		[ -d /proc/$plain ] && [ -d /proc/$ours ] || break
		sleep 0.1
	done
	if [ "$(guards $plain)" = bt ] && [ "$(guards $ours)" = bt ] && grep -q '"outcome":"remapped"' report.json; then
		echo "ok guarded text, $name, $backing"
	else
		fail "guarded text, $name, $backing" "plain $(guards $plain), ours $(guards $ours): $(cat err report.json)"
	fi
	kill $plain $ours
	wait $plain $ours 2>/dev/null
}
if grep -qw bti /proc/cpuinfo; then
	pages 16
	cp /programs/*guarded* advise/
	for backing in thp hugetlb file; do
		guarded "a static program" $backing all.json /tmp/advise/guarded-static
		[ $backing = file ] || guarded "a library" $backing libraries.json /tmp/advise/guarded-library sleep
	done
	pages 0
else
	echo "note no landing pads here"
fi

# As PID 1 of a namespace, which would reap the tracer: no zombie is left, and what ld.so hands over (x0) is called at exit.
for backing in thp file; do
	: >report.json
	cat >first <<END
#!/bin/sh
mount -t proc proc /proc
HUGEXEC_HELPER=off exec hugexec --policy=/tmp/libraries.json --report=/tmp/report.json --backing=$backing -- /tmp/advise/probe-pie
END
	chmod 755 first
	unshare --fork --pid --mount /tmp/first >out 2>err
	status=$?
	[ $status = 42 ] && grep -q remapped report.json && grep -q 'children to wait for: -1 No child' out && echo "ok PID 1 with libraries, $backing" ||
		fail "PID 1 with libraries, $backing" "status $status: $(tail -3 out) $(cat err report.json)"
done

# The tracer is killed at any moment: the program runs on, or was killed before its first instruction; never anything else.
killed=0 ran=0
for delay in 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 22 24 26 28 30 33 36 40 45 50 60; do
	hugexec --policy=all.json --backing=thp -- /programs/bigtext-pie exit 9 >out 2>err &
	program=$!
	sleep 0.$delay
	tracer=$(cat /proc/$program/task/$program/children 2>/dev/null)
	# shellcheck disable=SC2086 # none or one
	[ -n "$tracer" ] && kill -KILL $tracer 2>/dev/null
	wait $program
	status=$?
	if [ $status = 137 ] && [ ! -s out ]; then
		killed=$((killed + 1))
	elif [ $status = 9 ] && grep -q 'sum ' out; then
		ran=$((ran + 1))
	else
		fail "tracer killed after 0.$delay s" "status $status: $(cat out err)"
	fi
done
echo "ok tracer killed at any moment: $ran ran, $killed were killed with it"
