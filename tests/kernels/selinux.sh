# SPDX-License-Identifier: Apache-2.0
# hugexec where SELinux enforces (selinux_policy.py). Part of guest.sh, in a boot of its own.

mount -t selinuxfs selinuxfs /sys/fs/selinux
# All of the policy is to come at once.
dd if=/selinux.policy of=/sys/fs/selinux/load bs=1M 2>/dev/null
echo 1 >/sys/fs/selinux/enforce
[ "$(cat /proc/self/attr/current)" = system_u:system_r:base_t ] && echo "ok SELinux enforces" || fail "SELinux" "$(cat /proc/self/attr/current)"

# in_domain DOMAIN COMMAND...
in_domain() {
	domain=$1
	shift
	sh -c "printf %s system_u:system_r:$domain >/proc/self/attr/exec && exec \"\$@\"" sh "$@"
}

mkdir served
mount -t tmpfs -o huge=advise,size=100M tmpfs served
cp /programs/bigtext-pie served/server
cp /programs/bigtext-pie served/other
cp /bin/busybox served/cat
label system_u:object_r:server_exec_t served/server
label system_u:object_r:server_exec_t served/cat
sed 's/, "follow": "none"//' all.json >follow.json
chmod 644 follow.json
policy=follow.json
other=/tmp/served/other server=/tmp/served/server

as_user="in_domain base_t"
try "SELinux, not confined, thp" thp remapped $server
as_user="in_domain base_t"
try "SELinux, not confined, behind a shell" thp remapped sh -c "exec $server"
# No execmem, no execmod: what is executable was never writable in the target.
as_user="in_domain daemon_t"
try "SELinux, confined, thp" thp remapped $other
as_user="in_domain daemon_t"
try "SELinux, confined, file" file remapped $other
as_user="in_domain strict_t"
try "SELinux, may execute no memory file, thp" thp not-permitted $other
as_user="in_domain strict_t"
try "SELinux, may execute no memory file, file" file remapped $other
# The kernel refuses to execute it while somebody traces who may not trace its domain.
as_user="in_domain daemon_t"
try "SELinux, a domain of its own" thp "exec-failed: .*, while traced: Operation not permitted" $server
as_user="in_domain daemon_t"
try "SELinux, a domain of its own, behind a shell" thp "unprivileged-wrapper: SELinux confines system_u:system_r:daemon_t" sh -c "exec $server exit 9"
# has_domain NAME COMMAND...
has_domain() {
	name=$1
	shift
	told=$(in_domain daemon_t hugexec --policy=follow.json -- "$@" 2>&1 | tr -d '\0')
	[ "$told" = system_u:system_r:server_t ] && echo "ok SELinux, it has its domain, $name" || fail "SELinux, its domain, $name" "$told"
}
has_domain "by itself" /tmp/served/cat /proc/self/attr/current
has_domain "behind a shell" sh -c "exec /tmp/served/cat /proc/self/attr/current"

# Who is not confined does it for them; who is not asked before says no, for the same reason.
# helped NAME DOMAIN EXPECTED: by a hugexecd in DOMAIN
helped() {
	in_domain "$2" systemd-socket-activate --seqpacket --listen=/tmp/helper.sock hugexecd --policy=/tmp/follow.json --idle=0 2>/dev/null &
	helper=$!
	export HUGEXEC_HELPER=/tmp/helper.sock
	# The first who asks starts it, which may last in an emulated machine.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		: >report.json
		in_domain daemon_t hugexec --policy=follow.json --report=report.json --backing=thp -- sh -c "exec $server" >/dev/null 2>&1
		grep -qE 'helper-absent|helper-timeout' report.json || break
		sleep 1
	done
	as_user="in_domain daemon_t"
	try "SELinux, through hugexecd, $1" thp "$3" sh -c "exec $server exit 9"
	kill $helper
	wait $helper 2>/dev/null
	rm -f /tmp/helper.sock
	export HUGEXEC_HELPER=off
}
helped "not confined" base_t remapped
helped "confined itself" daemon_t "unprivileged-wrapper: SELinux confines .*hugexecd: .*SELinux confines"
policy=
